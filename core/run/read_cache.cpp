#include "core/run/read_cache.h"

#include <ATen/ATen.h>

#include "core/data/layer_problem.h"
#include "core/run/layers.h"
#include "core/run/mla.h"

namespace headscope {
namespace {

/// Rows [tokens, heads, dim] that lie one after the other.
InputRows rows_of(const void* data, int64_t heads, int64_t dim, Element element = Element::f32) {
  return {data, 0, dim, heads * dim, element};
}

}  // namespace

ReadCache::ReadCache(const Architecture& architecture, const Weights& weights, int64_t layer,
                     const KvCache::Store& store, int64_t tokens, MlaForm form, const KeyAngles* angles)
    : parts_(layer_problem(architecture, layer)) {
  const Layer& settings = architecture.layers[static_cast<size_t>(layer)];
  const KvStore& shape = architecture.store_of(layer);
  const int64_t first = store.keys().first(), held = tokens - first;
  const InputRows keys = store.keys().rows(), values = store.values().rows();
  parts_.first_key = first;
  if (angles != nullptr) parts_.key_rotation = angles->rotation();
  parts_.k = rows_of(keys.data, shape.kv_heads, shape.key_dim, keys.element);
  parts_.v = rows_of(values.data, shape.kv_heads, shape.value_dim, values.element);
  // A latent's value is the start of its key.
  if (shape.stored == Stored::latent) parts_.v = rows_of(keys.data, 1, shape.key_dim, keys.element);
  const auto rows = [&] {
    const auto type = keys.element == Element::bf16 ? at::kBFloat16 : at::kFloat;
    return at::from_blob(const_cast<void*>(keys.data), {held, shape.kv_heads * shape.key_dim}, type)  // only read
        .to(at::kFloat);
  };
  if (shape.stored == Stored::keys_only) {
    made_values_ = apply_linear(weights.layers[static_cast<size_t>(settings.kv_owner)].value, rows());
    parts_.v = rows_of(made_values_.const_data_ptr<float>(), shape.kv_heads, shape.value_dim);
  } else if (settings.mla && form == MlaForm::naive) {
    expand_latents(settings, shape, weights.layers[static_cast<size_t>(layer)], rows());
  }
}

void ReadCache::expand_latents(const Layer& layer, const KvStore& shape, const LayerWeights& weights,
                               const at::Tensor& rows) {
  const MlaExpanded made = mla_expanded(layer, shape, weights, rows);
  made_keys_ = made.keys.contiguous();
  made_values_ = made.values.contiguous();
  parts_.kv_heads = layer.q_heads;
  parts_.key_dim = made_keys_.size(2);
  parts_.value_dim = made_values_.size(2);
  parts_.k = rows_of(made_keys_.const_data_ptr<float>(), parts_.kv_heads, parts_.key_dim);
  parts_.v = rows_of(made_values_.const_data_ptr<float>(), parts_.kv_heads, parts_.value_dim);
}

void ReadCache::add_to(AttentionProblem& problem) const {
  problem.kv_heads = parts_.kv_heads;
  problem.key_dim = parts_.key_dim;
  problem.value_dim = parts_.value_dim;
  problem.k = parts_.k;
  problem.v = parts_.v;
  problem.first_key = parts_.first_key;
  problem.key_rotation = parts_.key_rotation;
}

}  // namespace headscope
