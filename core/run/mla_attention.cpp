#include "core/run/mla_attention.h"

#include <algorithm>

#include <ATen/ATen.h>

#include "core/data/layer_problem.h"
#include "core/run/mla.h"
#include "core/run/read_cache.h"

namespace headscope {
namespace {

/// Keys that the first `rows` rows of a sequence see, all together: row i sees i + 1, until its window is full.
int64_t pairs_of(int64_t rows, int64_t window) {
  const int64_t growing = window > 0 ? std::min(rows, window) : rows;
  return growing * (growing + 1) / 2 + (rows - growing) * window;
}

/// The problem of all heads without the keys that no row sees, which need not be expanded.
AttentionProblem of_seen_keys(const AttentionProblem& latents) {
  AttentionProblem seen = latents;
  seen.first_key = std::max(latents.first_key, first_seen(latents.causal_offset, latents.window));
  seen.k = latents.k.from(seen.first_key - latents.first_key);
  return seen;
}

}  // namespace

int64_t first_seen(int64_t position, int64_t window) {
  return window > 0 ? std::max<int64_t>(0, position - window + 1) : 0;
}

void LatentWork::add(int64_t position, int64_t count, int64_t window) {
  rows += count;
  keys += position + count - first_seen(position, window);
  pairs += pairs_of(position + count, window) - pairs_of(position, window);
}

bool expanding_is_less(const Mla& mla, const KvStore& store, const LatentWork& work) {
  // In double: a product of the largest sizes does not fit into 64 bits.
  const auto c = static_cast<double>(mla.content_dim), r = static_cast<double>(store.rope_key());
  const auto v = static_cast<double>(mla.value_dim), l = static_cast<double>(store.value_dim);
  const auto rows = static_cast<double>(work.rows), keys = static_cast<double>(work.keys);
  const auto pairs = static_cast<double>(work.pairs);
  return pairs * (c + r + v) + keys * l * (c + v) < pairs * (l + r + l) + rows * l * v;
}

int64_t heads_at_once(const Layer& layer, const KvStore& store, int64_t keys, int64_t bytes) {
  const int64_t key_dim = layer.mla->content_dim + store.rope_key();
  const auto of_one = keys * (layer.mla->content_dim + key_dim + layer.mla->value_dim) * bytes_of(Element::f32);
  return std::clamp<int64_t>(bytes / of_one, 1, layer.q_heads);
}

std::string_view attend_expanded(const ExpandedAttention& call, AttentionStep& step, const ParallelFor& workers) {
  const Layer& layer = call.architecture.layers[static_cast<size_t>(call.layer)];
  const KvStore& store = call.architecture.store_of(call.layer);
  const int64_t key_dim = layer.mla->content_dim + store.rope_key(), value_dim = layer.mla->value_dim;
  AttentionProblem problem = of_seen_keys(call.latents);
  const int64_t keys = problem.kv_len - problem.first_key;
  const at::Tensor rows = tensor_of(problem.k, keys, call.queries.device());
  problem.key_dim = key_dim;
  problem.value_dim = value_dim;
  problem.key_rotation.first_dim = layer.mla->content_dim;
  const int64_t at_once = heads_at_once(layer, store, keys, call.bytes);
  std::string_view kernel;
  for (int64_t first = 0; first < layer.q_heads; first += at_once) {
    const int64_t heads = std::min(at_once, layer.q_heads - first);
    const MlaExpanded made = mla_expanded(layer, store, call.weights, rows, first, heads);
    const PositionBias bias(call.architecture, first, heads, problem.kv_len, call.device);
    problem.q_heads = problem.kv_heads = heads;
    problem.q = rows_of(call.queries.const_data_ptr<float>() + first * key_dim, layer.q_heads, key_dim);
    problem.k = rows_of(made.keys.const_data_ptr<float>(), heads, key_dim);
    problem.v = rows_of(made.values.const_data_ptr<float>(), heads, value_dim);
    bias.add_to(problem);
    kernel = step.run(problem, first, workers);
  }
  return kernel;
}

}  // namespace headscope
