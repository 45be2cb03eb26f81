#include "core/data/layer_problem.h"

#include <cstdint>

#include "kernels/bf16.h"

namespace headscope {
namespace {

float rounded(float value) { return from_bf16(to_bf16(value)); }

float slope_of(const Position& position, int64_t head) {
  return static_cast<float>(position.alibi_slopes.at(static_cast<size_t>(head)) * position.alibi_scale);
}

float rounded_term(const Position& position, int64_t head, int64_t key) {
  const float slope = rounded(static_cast<float>(position.alibi_slopes.at(static_cast<size_t>(head))));
  return rounded(slope * rounded(static_cast<float>(key))) * static_cast<float>(position.alibi_scale);
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

PositionBias::PositionBias(const Architecture& architecture, int64_t first_head, int64_t heads, int64_t keys,
                           const Device& device, void* stream) {
  const Position& position = architecture.position;
  if (position.scheme != PositionScheme::alibi) return;
  for (int64_t head = first_head; head < first_head + heads; ++head) {
    if (!position.alibi_bf16) {
      slopes_.push_back(slope_of(position, head));
      continue;
    }
    for (int64_t key = 0; key < keys; ++key) key_terms_.push_back(rounded_term(position, head, key));
  }
  if (!slopes_.empty()) slopes_there_.emplace(device, slopes_, stream);
  if (!key_terms_.empty()) key_terms_there_.emplace(device, key_terms_, stream);
}

void PositionBias::add_to(AttentionProblem& problem) const {
  if (slopes_there_) problem.alibi_slopes = slopes_there_->data();
  if (key_terms_there_) problem.key_log_weight = key_terms_there_->data();
}

}  // namespace headscope
