#include "core/data/layer_problem.h"

namespace headscope {

AttentionProblem layer_problem(const Architecture& architecture, int64_t layer) {
  const Layer& settings = architecture.layers.at(static_cast<size_t>(layer));
  const KvStore& store = architecture.store_of(layer);
  AttentionProblem problem;
  problem.q_heads = settings.q_heads;
  problem.kv_heads = store.kv_heads;
  problem.key_dim = store.key_dim;
  problem.value_dim = store.value_dim;
  problem.scale = static_cast<float>(settings.scale);
  problem.window = settings.window;
  problem.soft_cap = static_cast<float>(settings.soft_cap);
  return problem;
}

std::vector<float> layer_alibi_slopes(const Architecture& architecture, int64_t layer) {
  if (architecture.position.scheme != PositionScheme::alibi) return {};
  const auto& slopes = architecture.position.alibi_slopes;
  const auto heads = architecture.layers.at(static_cast<size_t>(layer)).q_heads;
  return {slopes.begin(), slopes.begin() + heads};
}

}  // namespace headscope
