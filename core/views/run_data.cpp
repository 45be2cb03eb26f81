#include "core/views/run_data.h"

#include <algorithm>
#include <bit>
#include <stdexcept>

#include "core/arch/names.h"

namespace headscope {
namespace {

/// The part of the head's thumbnail that the run has reached.
Grid thumbnail(const std::shared_ptr<const ThumbnailGrid>& grid, int64_t head, int64_t tokens) {
  const int64_t used = std::min(grid->cells, (tokens + grid->bin - 1) / grid->bin);
  return {used, used, std::shared_ptr<const std::vector<float>>(grid, &grid->max), head * grid->cells * grid->cells,
          grid->cells};
}

/// The window in the fewest tokens a cell with which it has at most `cells` cells a side.
MapRegion region_of(const MapWindow& window, int64_t tokens, int64_t cells) {
  MapRegion region{window.layer, window.head, window.row_begin, window.row_end, window.key_begin, window.key_end};
  if (region.row_end == 0) region.row_end = tokens;
  if (region.key_end == 0) region.key_end = tokens;
  const int64_t side = std::max(region.row_end - region.row_begin, region.key_end - region.key_begin);
  region.bin = ThumbnailGrid::smallest_bin(side, std::max<int64_t>(1, cells));
  return region;
}

/// All of the map's data but its cells and texts.
MapData map_of(const RunSnapshot& run, const MapRegion& region) {
  const Layer& settings = run.architecture->layers[static_cast<size_t>(region.layer)];
  MapData data;
  data.facts = run_facts(run);
  data.layer = region.layer;
  data.head = region.head;
  data.group_size = settings.q_heads / run.architecture->store_of(region.layer).kv_heads;
  data.kv_head = region.head / data.group_size;
  data.latent = settings.mla.has_value();
  data.kv_owner = settings.kv_owner;
  data.row_begin = region.row_begin;
  data.row_end = region.row_end;
  data.key_begin = region.key_begin;
  data.key_end = region.key_end;
  data.bin = region.bin;
  const LayerRows& rows = run.layers[static_cast<size_t>(region.layer)];
  data.row_entropy_nats.reserve(static_cast<size_t>(region.row_end - region.row_begin));
  for (int64_t row = region.row_begin; row < region.row_end; ++row) {
    data.row_entropy_nats.push_back(rows.statistic(Statistic::entropy, row, region.head, settings.q_heads));
  }
  return data;
}

/// Numbers of one token's key and value in a head of its own; of a model with latents as `kv --what-if mha` has them,
/// both of the size of its values (kv-variants.md 0).
int64_t head_elements(const Layer& layer, const KvStore& store) {
  return layer.mla ? 2 * layer.mla->value_dim : store.key_dim + store.value_dim;
}

/// Bytes of the same layers if each stored K and V of `kv_heads` heads; 0 heads: as many as query heads. A layer with a
/// window would keep that.
uint64_t counterfactual_bytes(const RunSnapshot& run, int64_t kv_heads) {
  int64_t elements = 0;
  for (int64_t layer = 0; layer < run.architecture->layer_count(); ++layer) {
    const Layer& settings = run.architecture->layers[static_cast<size_t>(layer)];
    const int64_t heads = kv_heads > 0 ? kv_heads : settings.q_heads;
    const int64_t tokens = settings.window > 0 ? std::min(settings.window, run.tokens()) : run.tokens();
    elements += tokens * heads * head_elements(settings, run.architecture->store_of(layer));
  }
  return static_cast<uint64_t>(elements * bytes_of(run.element));
}

/// "zero 2:5" in words.
std::string badge_of(const std::string& intervention) {
  const size_t space = intervention.find(' '), colon = intervention.find(':');
  if (!intervention.starts_with("zero ") || colon == std::string::npos) return intervention;
  return fmt::format("layer {}, head {} off", intervention.substr(space + 1, colon - space - 1),
                     intervention.substr(colon + 1));
}

/// Interventions are kept as they are written in files.
bool is_off(const RunSnapshot& run, int64_t layer, int64_t head) {
  const std::string text = fmt::format("zero {}:{}", layer, head);
  return std::find(run.interventions.begin(), run.interventions.end(), text) != run.interventions.end();
}

std::string kernel_note(const RunSnapshot& run, std::string_view kernel) {
  return fmt::format("kernel {}, {}", kernel, run.dtype);
}

}  // namespace

RunFacts run_facts(const RunSnapshot& run) {
  RunFacts facts;
  facts.model = run.model;
  facts.variant = variant_name(*run.architecture);
  facts.tokens = run.tokens();
  for (const std::string& intervention : run.interventions) facts.badges.push_back(badge_of(intervention));
  facts.notes = {kernel_note(run, run.kernel)};
  const std::string_view alibi = alibi_name(run.architecture->position);
  if (!alibi.empty()) facts.notes.push_back(fmt::format("ALiBi {}", alibi));
  return facts;
}

void AtlasSums::add(const RunSnapshot& run) {
  if (run.tokens() < rows_) throw std::logic_error("AtlasSums: a snapshot from before the one added last");
  sums_.resize(run.layers.size());
  for (size_t index = 0; index < sums_.size(); ++index) {
    const int64_t heads = run.architecture->layers[index].q_heads;
    std::vector<HeadSums>& sums = sums_[index];
    sums.resize(static_cast<size_t>(heads));
    for (int64_t token = std::max<int64_t>(rows_, 1); token < run.tokens(); ++token) {
      const auto row = [&](Statistic which) {
        return run.layers[index].statistics.row(token) + static_cast<int64_t>(which) * heads;
      };
      const float *entropy = row(Statistic::entropy), *distance = row(Statistic::distance);
      const float *sink = row(Statistic::sink), *max = row(Statistic::max);
      const float* window = row(Statistic::window);
      for (HeadSums& head : sums) {
        head.entropy += double{*entropy++};
        head.distance += double{*distance++};
        head.sink += double{*sink++};
        head.max += double{*max++};
        head.window += double{*window++};
      }
    }
  }
  rows_ = run.tokens();
}

AtlasData AtlasSums::data(const RunSnapshot& run) const {
  if (run.tokens() != rows_) throw std::logic_error("AtlasSums: not the snapshot that was added last");
  AtlasData data;
  data.facts = run_facts(run);
  data.bin = run.layers.front().thumbnails->bin;
  for (size_t index = 0; index < sums_.size(); ++index) {
    const Layer& settings = run.architecture->layers[index];
    const LayerRows& rows = run.layers[index];
    const int64_t kv_heads = run.architecture->store_of(static_cast<int64_t>(index)).kv_heads;
    AtlasLayer layer{settings.q_heads, kv_heads, settings.kv_owner, {}, settings.mla.has_value()};
    for (int64_t head = 0; head < settings.q_heads; ++head) {
      // Of the rows but the first, which can only see itself; of a single row, its value.
      const auto mean = [&](double sum, Statistic which) {
        if (rows_ == 1) return double{rows.statistic(which, 0, head, settings.q_heads)};
        return sum / static_cast<double>(std::max<int64_t>(0, rows_ - 1));
      };
      const HeadSums& sums = sums_[index][static_cast<size_t>(head)];
      layer.heads.push_back({thumbnail(rows.thumbnails, head, run.tokens()), mean(sums.entropy, Statistic::entropy),
                             mean(sums.distance, Statistic::distance), mean(sums.sink, Statistic::sink),
                             mean(sums.max, Statistic::max), mean(sums.window, Statistic::window),
                             is_off(run, static_cast<int64_t>(index), head)});
    }
    data.layers.push_back(std::move(layer));
  }
  return data;
}

AtlasData atlas_data(const RunSnapshot& run) {
  AtlasSums sums;
  sums.add(run);
  return sums.data(run);
}

KvData kv_data(const RunSnapshot& run) {
  KvData data;
  data.facts = run_facts(run);
  data.equation = kv_equation(*run.architecture, bytes_of(run.element));
  data.prompt_tokens = run.prompt_tokens;
  for (const KvRows& rows : run.stores) {
    const KvStore& store = run.architecture->store_of(rows.layer);
    data.layers.push_back({rows.layer, static_cast<uint64_t>(store.elements_per_token() * bytes_of(run.element)),
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
  const MapRegion region = region_of(window, run.tokens(), cells);
  const TileQuery query{region.layer,     region.head,    region.row_begin, region.row_end,
                        region.key_begin, region.key_end, region.bin};
  Tile tile = compute_tile(run, query, workers, stop);  // checks the ranges
  MapData data = map_of(run, region);
  data.facts.notes.front() = kernel_note(run, tile.kernel);
  data.cells = Grid::of(tile.rows, tile.columns, std::move(tile.cells));
  data.pieces = run.pieces;
  return data;
}

MapRegion map_region(const MapWindow& window, int64_t tokens, int64_t cells) {
  MapWindow inside = window;
  const auto cut = [tokens](int64_t& begin, int64_t& end) {
    begin = std::clamp<int64_t>(end == 0 ? 0 : begin, 0, tokens - 1);
    end = end == 0 ? tokens : std::clamp(end, begin + 1, tokens);
  };
  cut(inside.row_begin, inside.row_end);
  cut(inside.key_begin, inside.key_end);
  MapRegion region = region_of(inside, tokens, cells);
  region.bin = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(region.bin)));
  const auto outwards = [&](int64_t& begin, int64_t& end) {
    begin -= begin % region.bin;
    end = std::min(tokens, (end + region.bin - 1) / region.bin * region.bin);
  };
  outwards(region.row_begin, region.row_end);
  outwards(region.key_begin, region.key_end);
  return region;
}

MapData map_data(const std::shared_ptr<const RunSnapshot>& run, const MapRegion& region, const ComposedMap& composed) {
  MapData data = map_of(*run, region);
  if (!composed.kernel.empty()) data.facts.notes.front() = kernel_note(*run, composed.kernel);
  data.cells = {composed.rows, composed.columns, composed.cells, 0, composed.columns};
  data.pieces = TokenTexts(std::shared_ptr<const std::vector<std::string>>(run, &run->pieces));
  return data;
}

}  // namespace headscope
