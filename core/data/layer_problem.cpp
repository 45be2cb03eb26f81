#include "core/data/layer_problem.h"

#include <bit>
#include <cstdint>

namespace headscope {
namespace {

/// The nearest number that bf16 holds; ties to even.
float to_bf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return std::bit_cast<float>((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000u);
}

}  // namespace

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

PositionBias position_bias(const Architecture& architecture, int64_t layer, int64_t keys) {
  const Position& position = architecture.position;
  PositionBias bias;
  bias.keys = keys;
  if (position.scheme != PositionScheme::alibi) return bias;
  const int64_t heads = architecture.layers.at(static_cast<size_t>(layer)).q_heads;
  for (int64_t head = 0; head < heads; ++head) {
    const double slope = position.alibi_slopes.at(static_cast<size_t>(head));
    if (!position.alibi_bf16) {
      bias.slopes.push_back(static_cast<float>(slope * position.alibi_scale));
      continue;
    }
    const float rounded = to_bf16(static_cast<float>(slope));
    for (int64_t key = 0; key < keys; ++key) {
      const float product = to_bf16(rounded * to_bf16(static_cast<float>(key)));
      bias.key_terms.push_back(product * static_cast<float>(position.alibi_scale));
    }
  }
  return bias;
}

void PositionBias::add_to(AttentionProblem& problem, int64_t first_head) const {
  if (!slopes.empty()) problem.alibi_slopes = slopes.data() + first_head;
  if (!key_terms.empty()) problem.key_log_weight = key_terms.data() + first_head * keys;
}

double PositionBias::at(int64_t head, int64_t key) const {
  double sum = 0;
  if (!slopes.empty()) sum += double{slopes[static_cast<size_t>(head)]} * static_cast<double>(key);
  if (!key_terms.empty()) sum += double{key_terms[static_cast<size_t>(head * keys + key)]};
  return sum;
}

}  // namespace headscope
