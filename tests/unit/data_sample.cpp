#include "tests/unit/data_sample.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/data/layer_problem.h"
#include "core/data/workspace.h"
#include "kernels/kernels.h"

namespace headscope::sample {
namespace {

std::shared_ptr<const Architecture> architecture_of(const RunShape& shape) {
  auto out = std::make_shared<Architecture>();
  out->family = "sample";
  out->d_model = shape.q_heads * shape.key_dim;
  out->vocab_size = 64;
  out->context = int64_t{1} << 20;
  if (shape.alibi) {
    out->position.scheme = PositionScheme::alibi;
    for (int64_t head = 0; head < shape.q_heads; ++head) {
      out->position.alibi_slopes.push_back(std::exp2(-static_cast<double>(head + 1)));
    }
  }
  for (int64_t index = 0; index < shape.layers; ++index) {
    headscope::Layer layer;
    layer.q_heads = shape.q_heads;
    layer.kv_owner = index - index % shape.layers_per_cache;
    layer.scale = 1 / std::sqrt(static_cast<double>(shape.key_dim));
    layer.window = shape.window;
    layer.soft_cap = shape.soft_cap;
    out->layers.push_back(layer);
    if (layer.kv_owner == index) {
      out->kv_stores.push_back({index, shape.kv_heads, shape.key_dim, shape.key_dim, shape.window});
    }
  }
  return out;
}

/// Doubles the bin of a grid.
ThumbnailGrid coarser(const ThumbnailGrid& fine, int64_t heads) {
  const int64_t n = fine.cells;
  ThumbnailGrid out{n, fine.bin * 2, std::vector<float>(fine.max.size(), 0.0F)};
  for (int64_t i = 0; i < heads * n * n; ++i) {
    const int64_t head = i / (n * n), row = i / n % n, column = i % n;
    float& cell = out.max[static_cast<size_t>((head * n + row / 2) * n + column / 2)];
    cell = std::max(cell, fine.max[static_cast<size_t>(i)]);
  }
  return out;
}

}  // namespace

GrowingRun::GrowingRun(const RunShape& shape, uint64_t seed)
    : shape_(shape), random_(seed), architecture_(architecture_of(shape)) {
  const int64_t capacity = std::max<int64_t>(16, shape.expected_tokens);
  const auto rows = [&](MemoryPurpose purpose, int64_t width) {
    return GrowingRows(ledger_, purpose, width, capacity);
  };
  const int64_t heads = shape.q_heads, cells = shape.thumbnail_cells;
  for (int64_t layer = 0; layer < shape.layers; ++layer) {
    ThumbnailGrid grid{cells, ThumbnailGrid::smallest_bin(shape.expected_tokens, cells), {}};
    grid.max.assign(static_cast<size_t>(heads * cells * cells), 0.0F);
    constexpr auto viewer = MemoryPurpose::viewer;
    layers_.push_back({rows(viewer, heads * shape.key_dim), rows(viewer, heads), rows(viewer, heads),
                       rows(viewer, statistic_count * heads), std::make_shared<ThumbnailGrid>(std::move(grid))});
    if (layer % shape.layers_per_cache != 0) continue;
    const int64_t width = shape.kv_heads * shape.key_dim;
    stores_.push_back({layer, rows(MemoryPurpose::kv, width), rows(MemoryPurpose::kv, width)});
  }
}

void GrowingRun::fill(GrowingRows& rows, int64_t tokens, double spread) {
  std::normal_distribution<float> normal(0.0F, static_cast<float>(spread));
  float* to = rows.prepare(tokens);
  std::generate_n(to, tokens * rows.width(), [&] { return normal(random_); });
}

void GrowingRun::append(int64_t tokens, const ParallelFor& workers) {
  for (int64_t layer = 0; layer < shape_.layers; ++layer) {
    if (layer % shape_.layers_per_cache == 0) {
      Store& store = stores_[static_cast<size_t>(layer / shape_.layers_per_cache)];
      fill(store.k, tokens, 1);
      fill(store.v, tokens, 1);
      store.k.publish(tokens);
      store.v.publish(tokens);
    }
    fill(layers_[static_cast<size_t>(layer)].q, tokens, shape_.spread);
    attend(layer, tokens, workers);
  }
  tokens_ += tokens;
  int64_t bytes = 0;
  for (const Store& store : stores_) bytes += store.k.allocated_bytes() + store.v.allocated_bytes();
  allocated_history_.resize(static_cast<size_t>(tokens_), bytes);
}

void GrowingRun::attend(int64_t layer, int64_t tokens, const ParallelFor& workers) {
  Layer& record = layers_[static_cast<size_t>(layer)];
  const Store& store = stores_[static_cast<size_t>(layer / shape_.layers_per_cache)];
  AttentionProblem problem = layer_problem(*architecture_, layer);
  const int64_t heads = problem.q_heads;
  problem.q_len = tokens;
  problem.kv_len = tokens_ + tokens;
  problem.causal_offset = tokens_;
  float* q = record.q.prepare(tokens);  // where fill wrote
  problem.q = {q, 0, problem.key_dim, heads * problem.key_dim};
  problem.k = {store.k.view().row(0), 0, problem.key_dim, problem.kv_heads * problem.key_dim};
  problem.v = {store.v.view().row(0), 0, problem.value_dim, problem.kv_heads * problem.value_dim};
  const PositionBias bias(*architecture_, 0, heads, problem.kv_len);
  bias.add_to(problem);

  auto thumbnails = std::make_shared<ThumbnailGrid>(*record.thumbnails);
  while (problem.kv_len > thumbnails->bin * thumbnails->cells) *thumbnails = coarser(*thumbnails, heads);

  const auto size = static_cast<size_t>(heads * tokens);
  std::vector<float> row_max(size), log_sum(size), values[statistic_count];
  std::vector<int32_t> argmax(size);
  for (auto& list : values) list.resize(size);
  AttentionOutput output;
  output.row_max = row_max.data();
  output.log_sum = log_sum.data();
  output.statistics = {values[0].data(), values[1].data(), argmax.data(), values[3].data(), values[4].data(),
                       values[5].data(), values[6].data(), sink_tokens,   window_tokens};
  output.thumbnails = {thumbnails->max.data(), thumbnails->cells, thumbnails->bin};
  std::vector<float> out(size * static_cast<size_t>(problem.value_dim));
  output.out = {out.data(), 0, problem.value_dim, heads * problem.value_dim};
  const AttentionKernel& kernel = select_attention_kernel(problem);
  const Workspace workspace(kernel.forward_workspace(problem, output, workers.workers()));
  kernel.forward(problem, output, workspace.span(), workers);
  values[2].assign(argmax.begin(), argmax.end());

  const auto store_rows = [&](GrowingRows& rows, std::vector<const float*> columns) {
    float* to = rows.prepare(tokens);
    for (int64_t token = 0; token < tokens; ++token) {
      for (const float* column : columns) {
        for (int64_t head = 0; head < heads; ++head) *to++ = column[head * tokens + token];
      }
    }
    rows.publish(tokens);
  };
  std::vector<const float*> lists;
  for (const auto& list : values) lists.push_back(list.data());
  store_rows(record.row_max, {row_max.data()});
  store_rows(record.log_sum, {log_sum.data()});
  store_rows(record.statistics, lists);
  record.q.publish(tokens);
  record.thumbnails = std::move(thumbnails);
}

std::shared_ptr<const RunSnapshot> GrowingRun::snapshot() const {
  auto out = std::make_shared<RunSnapshot>();
  out->architecture = architecture_;
  out->model = "sample";
  out->kernel = "cpu", out->dtype = "f32", out->device = "cpu";
  out->revision = static_cast<uint64_t>(tokens_);
  out->ids.assign(static_cast<size_t>(tokens_), 0);
  for (int64_t token = 0; token < tokens_; ++token) out->pieces.push_back(fmt::format(" {}", token));
  out->prompt_tokens = tokens_;
  for (const Layer& layer : layers_) {
    out->layers.push_back(
        {layer.q.view(), layer.row_max.view(), layer.log_sum.view(), layer.statistics.view(), layer.thumbnails});
  }
  for (const Store& store : stores_) {
    out->stores.push_back({store.layer, store.k.view(), store.v.view(), store.k.used_bytes() + store.v.used_bytes(),
                           store.k.allocated_bytes() + store.v.allocated_bytes()});
  }
  out->allocated_history = allocated_history_;
  return out;
}

}  // namespace headscope::sample
