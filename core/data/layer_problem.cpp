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

float slope_of(const Position& position, int64_t head) {
  return static_cast<float>(position.alibi_slopes.at(static_cast<size_t>(head)) * position.alibi_scale);
}

float rounded_term(const Position& position, int64_t head, int64_t key) {
  const float slope = to_bf16(static_cast<float>(position.alibi_slopes.at(static_cast<size_t>(head))));
  return to_bf16(slope * to_bf16(static_cast<float>(key))) * static_cast<float>(position.alibi_scale);
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

double position_score(const Architecture& architecture, int64_t head, int64_t key) {
  const Position& position = architecture.position;
  if (position.scheme != PositionScheme::alibi) return 0;
  if (position.alibi_bf16) return double{rounded_term(position, head, key)};
  return double{slope_of(position, head)} * static_cast<double>(key);
}

PositionBias position_bias(const Architecture& architecture, int64_t first_head, int64_t heads, int64_t keys) {
  const Position& position = architecture.position;
  PositionBias bias;
  if (position.scheme != PositionScheme::alibi) return bias;
  for (int64_t head = first_head; head < first_head + heads; ++head) {
    if (!position.alibi_bf16) {
      bias.slopes.push_back(slope_of(position, head));
      continue;
    }
    for (int64_t key = 0; key < keys; ++key) bias.key_terms.push_back(rounded_term(position, head, key));
  }
  return bias;
}

void PositionBias::add_to(AttentionProblem& problem) const {
  if (!slopes.empty()) problem.alibi_slopes = slopes.data();
  if (!key_terms.empty()) problem.key_log_weight = key_terms.data();
}

}  // namespace headscope
