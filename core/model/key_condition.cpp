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

}  // namespace headscope
