#include "core/run/read_cache.h"

#include <ATen/ATen.h>

#include "core/data/layer_problem.h"
#include "core/run/layers.h"
#include "core/run/mla_attention.h"

namespace headscope {

InputRows rows_of(const void* data, int64_t heads, int64_t dim, Element element) {
  return {data, 0, dim, heads * dim, element};
}

Element element_of(const at::Tensor& numbers) {
  return numbers.scalar_type() == at::kBFloat16 ? Element::bf16 : Element::f32;
}

at::Tensor as_element(const at::Tensor& numbers, Element element) {
  return element == Element::bf16 ? numbers.to(at::kBFloat16) : numbers;
}

at::Tensor tensor_of(const InputRows& rows, int64_t tokens, at::Device device) {
  const auto type = rows.element == Element::bf16 ? at::kBFloat16 : at::kFloat;
  const auto options = at::TensorOptions(type).device(device);
  auto* data = const_cast<void*>(rows.data);  // only read
  return at::from_blob(data, {tokens, rows.row_stride}, {}, options, device).to(at::kFloat);
}

CachedRows::CachedRows(const KvCache::Store& store)
    : keys(store.keys().rows()), values(store.values().rows()), first(store.keys().first()) {}

CachedRows::CachedRows(const KvRows& rows) : keys(rows.k.input()), values(rows.v.input()) {}

ReadCache::ReadCache(const Architecture& architecture, const Weights& weights, int64_t layer, const CachedRows& rows,
                     int64_t position, int64_t tokens, const KeyAngles* angles)
    : parts_(layer_problem(architecture, layer)) {
  const Layer& settings = architecture.layers[static_cast<size_t>(layer)];
  const KvStore& shape = architecture.store_of(layer);
  const auto& [keys, values, first] = rows;
  parts_.first_key = first;
  if (angles != nullptr) parts_.key_rotation = angles->rotation();
  parts_.k = rows_of(keys.data, shape.kv_heads, shape.key_dim, keys.element);
  parts_.v = rows_of(values.data, shape.kv_heads, shape.value_dim, values.element);
  // A latent's value is the start of its key.
  if (shape.stored == Stored::latent) parts_.v = rows_of(keys.data, 1, shape.key_dim, keys.element);
  if (shape.stored == Stored::keys_only) {
    const Linear& from_keys = weights.layers[static_cast<size_t>(settings.kv_owner)].value;
    parts_.first_key = std::max(first, first_seen(position, settings.window));
    parts_.k = parts_.k.from(parts_.first_key - first);
    made_values_ =
        apply_exact_linear(from_keys, tensor_of(parts_.k, tokens - parts_.first_key, from_keys.weight.device()));
    parts_.v = rows_of(made_values_.const_data_ptr<float>(), shape.kv_heads, shape.value_dim);
  }
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
