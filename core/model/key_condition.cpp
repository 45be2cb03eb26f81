#include "core/model/key_condition.h"

#include <cmath>

#include <ATen/ATen.h>

#include "core/model/torch_errors.h"
#include "core/model/weights.h"

namespace headscope {
namespace {

/// The decomposition of a matrix that is not finite would fail instead of telling.
double condition_of(const at::Tensor& weight) {
  const at::Tensor exact = weight.to(at::kDouble);
  if (!at::isfinite(exact).all().item<bool>()) return INFINITY;
  const at::Tensor singular = at::linalg_svdvals(exact);
  const double smallest = singular.min().item<double>();
  return smallest > 0 ? singular.max().item<double>() / smallest : INFINITY;
}

/// The tensor that holds a layer's W_K and nothing else, or null.
const TensorInfo* key_tensor(const Checkpoint& checkpoint, const ModelDescription& model, int64_t layer) {
  for (const BoundTensor& bound : model.binding.tensors) {
    const TensorWish& wish = model.schema.wishes[bound.wish];
    const bool whole = wish.parts.size() == 1 && !wish.transposed;
    if (whole && wish.parts.front().weight == Weight::key && wish.parts.front().layer == layer)
      return &checkpoint.tensors()[bound.tensor];
  }
  return nullptr;
}

/// Whether the singular values of all of them take a moment.
bool are_small(const std::vector<KvStore>& stores) {
  double work = 0;
  for (const KvStore& store : stores) work += std::pow(static_cast<double>(store.kv_heads * store.key_dim), 3);
  return work <= std::ldexp(1, 30);
}

}  // namespace

std::vector<KeyCondition> key_conditions(const Model& model, const Progress& progress) {
  std::vector<KeyCondition> found;
  const std::vector<KvStore>& stores = model.architecture()->kv_stores;
  for (size_t i = 0; i < stores.size(); ++i) {
    if (stores[i].stored != Stored::keys_only) continue;
    progress.step("decomposing W_K", static_cast<double>(i) / static_cast<double>(stores.size()));
    const Linear& key = model.weights().layers[static_cast<size_t>(stores[i].layer)].key;
    found.push_back({stores[i].layer, with_torch_errors([&] { return condition_of(key.weight); })});
  }
  return found;
}

std::optional<std::vector<KeyCondition>> key_conditions(Checkpoint& checkpoint, const ModelDescription& model,
                                                        const Progress& progress) {
  std::vector<KvStore> stores = model.architecture.kv_stores;
  std::erase_if(stores, [](const KvStore& store) { return store.stored != Stored::keys_only; });
  if (!are_small(stores)) return std::nullopt;
  std::vector<KeyCondition> found;
  for (const KvStore& store : stores) {
    const TensorInfo* info = key_tensor(checkpoint, model, store.layer);
    if (info == nullptr) return std::nullopt;
    at::Tensor weight = at::empty(info->shape, at::kFloat);
    checkpoint.read_f32(*info, {weight.mutable_data_ptr<float>(), static_cast<size_t>(weight.numel())}, progress);
    found.push_back({store.layer, with_torch_errors([&] { return condition_of(weight); })});
  }
  return found;
}

}  // namespace headscope
