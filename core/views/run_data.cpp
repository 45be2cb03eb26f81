#include "core/views/run_data.h"

#include <algorithm>
#include <cmath>

namespace headscope {
namespace {

/// Mean of a statistic over the rows of the run but the first, which can only see itself; of a single row, its value.
double mean(const LayerRows& rows, Statistic which, int64_t head, int64_t q_heads) {
  const int64_t first = rows.statistics.rows > 1 ? 1 : 0;
  double sum = 0;
  for (int64_t token = first; token < rows.statistics.rows; ++token) sum += rows.statistic(which, token, head, q_heads);
  return sum / static_cast<double>(rows.statistics.rows - first);
}

/// The part of the head's thumbnail that the run has reached.
Grid thumbnail(const ThumbnailGrid& grid, int64_t head, int64_t tokens) {
  const int64_t used = std::min(grid.cells, (tokens + grid.bin - 1) / grid.bin);
  std::vector<float> values(static_cast<size_t>(used * used));
  const float* from = grid.max.data() + head * grid.cells * grid.cells;
  for (int64_t row = 0; row < used; ++row) {
    std::copy_n(from + row * grid.cells, used, values.begin() + row * used);
  }
  return Grid::of(used, used, std::move(values));
}

AtlasHead atlas_head(const LayerRows& rows, int64_t head, int64_t q_heads, int64_t tokens) {
  return {thumbnail(*rows.thumbnails, head, tokens), mean(rows, Statistic::entropy, head, q_heads),
          mean(rows, Statistic::distance, head, q_heads), mean(rows, Statistic::sink, head, q_heads),
          mean(rows, Statistic::max, head, q_heads)};
}

/// Bytes of the same layers if each stored K and V of `kv_heads` heads; 0 heads: as many as query heads.
uint64_t counterfactual_bytes(const RunSnapshot& run, int64_t kv_heads) {
  int64_t elements = 0;
  for (int64_t layer = 0; layer < run.architecture->layer_count(); ++layer) {
    const KvStore& store = run.architecture->store_of(layer);
    const int64_t q_heads = run.architecture->layers[static_cast<size_t>(layer)].q_heads;
    elements += (kv_heads > 0 ? kv_heads : q_heads) * (store.key_dim + store.value_dim);
  }
  return static_cast<uint64_t>(elements * run.tokens()) * sizeof(float);
}

}  // namespace

RunFacts run_facts(const RunSnapshot& run) {
  RunFacts facts;
  facts.model = run.model;
  facts.variant = variant_name(*run.architecture);
  facts.tokens = run.tokens();
  facts.badges = run.interventions;
  facts.notes = {fmt::format("kernel {}, {}", run.kernel, run.dtype)};
  return facts;
}

AtlasData atlas_data(const RunSnapshot& run) {
  AtlasData data;
  data.facts = run_facts(run);
  data.bin = run.layers.front().thumbnails->bin;
  for (int64_t index = 0; index < run.architecture->layer_count(); ++index) {
    const Layer& settings = run.architecture->layers[static_cast<size_t>(index)];
    const LayerRows& rows = run.layers[static_cast<size_t>(index)];
    AtlasLayer layer{settings.q_heads, run.architecture->store_of(index).kv_heads, settings.kv_owner, {}};
    for (int64_t head = 0; head < settings.q_heads; ++head) {
      layer.heads.push_back(atlas_head(rows, head, settings.q_heads, run.tokens()));
    }
    data.layers.push_back(std::move(layer));
  }
  return data;
}

KvData kv_data(const RunSnapshot& run) {
  KvData data;
  data.facts = run_facts(run);
  data.equation = kv_equation(*run.architecture, sizeof(float));
  data.prompt_tokens = run.prompt_tokens;
  for (const KvRows& rows : run.stores) {
    const KvStore& store = run.architecture->store_of(rows.layer);
    data.layers.push_back({rows.layer, static_cast<uint64_t>(store.elements_per_token()) * sizeof(float),
                           static_cast<uint64_t>(rows.used_bytes), static_cast<uint64_t>(rows.allocated_bytes),
                           store.window});
  }
  data.allocated_history.assign(run.allocated_history.begin(), run.allocated_history.end());
  data.as_mha_bytes = counterfactual_bytes(run, 0);
  data.as_mqa_bytes = counterfactual_bytes(run, 1);
  return data;
}

MapData map_data(const RunSnapshot& run, const MapWindow& window, int64_t cells, const ParallelFor& workers,
                 std::stop_token stop) {
  TileQuery query{window.layer, window.head, window.row_begin, window.row_end, window.key_begin, window.key_end};
  if (query.row_end == 0) query.row_end = run.tokens();
  if (query.key_end == 0) query.key_end = run.tokens();
  query.bin =
      ThumbnailGrid::smallest_bin(std::max(query.row_end - query.row_begin, query.key_end - query.key_begin), cells);
  Tile tile = compute_tile(run, query, workers, stop);  // checks the ranges

  const Layer& settings = run.architecture->layers[static_cast<size_t>(query.layer)];
  MapData data;
  data.facts = run_facts(run);
  data.layer = query.layer;
  data.head = query.head;
  data.group_size = settings.q_heads / run.architecture->store_of(query.layer).kv_heads;
  data.kv_head = query.head / data.group_size;
  data.kv_owner = settings.kv_owner;
  data.row_begin = query.row_begin;
  data.row_end = query.row_end;
  data.key_begin = query.key_begin;
  data.key_end = query.key_end;
  data.bin = query.bin;
  data.pooling = query.pooling;
  data.cells = Grid::of(tile.rows, tile.columns, std::move(tile.cells));
  data.pieces = run.pieces;
  const LayerRows& rows = run.layers[static_cast<size_t>(query.layer)];
  for (int64_t row = query.row_begin; row < query.row_end; ++row) {
    data.row_entropy_nats.push_back(rows.statistic(Statistic::entropy, row, query.head, settings.q_heads));
  }
  return data;
}

}  // namespace headscope
