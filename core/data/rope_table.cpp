#include "core/data/rope_table.h"

#include <algorithm>
#include <cmath>

#include "core/arch/rope.h"

namespace headscope {

RopeTable::RopeTable(const Architecture& architecture, int64_t layer, int64_t tokens) {
  if (architecture.position.scheme != PositionScheme::rope) return;
  const Rope& rope = architecture.rope_of(layer);
  offset_ = architecture.store_of(layer).rope_offset();
  style_ = rope.style;
  factor_ = static_cast<float>(rope.scaling.attention_factor);
  for (const double frequency : rope_inverse_frequencies(rope, tokens)) {
    inverse_frequencies_.push_back(static_cast<float>(frequency));
  }
}

void RopeTable::rotate(float* rows, int64_t tokens, int64_t heads, int64_t dim, int64_t first_position,
                       const ParallelFor& workers) const {
  if (inverse_frequencies_.empty()) return;
  constexpr int64_t batch = 64;  // tokens a task
  workers.run((tokens + batch - 1) / batch, [&](int64_t task, int) {
    Angles angles{inverse_frequencies_, inverse_frequencies_};
    for (int64_t token = task * batch; token < std::min(tokens, (task + 1) * batch); ++token) {
      turn(static_cast<float>(first_position + token), angles);
      for (int64_t head = 0; head < heads; ++head) rotate_row(rows + (token * heads + head) * dim + offset_, angles);
    }
  });
}

void RopeTable::turn(float position, Angles& angles) const {
  for (size_t pair = 0; pair < inverse_frequencies_.size(); ++pair) {
    const float angle = position * inverse_frequencies_[pair];
    angles.cosines[pair] = factor_ * std::cos(angle);
    angles.sines[pair] = factor_ * std::sin(angle);
  }
}

void RopeTable::rotate_row(float* row, const Angles& angles) const {
  const size_t pairs = inverse_frequencies_.size();
  const size_t step = style_ == RotationStyle::rotate_half ? 1 : 2;
  const size_t partner = style_ == RotationStyle::rotate_half ? pairs : 1;
  for (size_t pair = 0; pair < pairs; ++pair) {
    float& a = row[pair * step];
    float& b = row[pair * step + partner];
    const float rotated_a = a * angles.cosines[pair] - b * angles.sines[pair];
    b = b * angles.cosines[pair] + a * angles.sines[pair];
    a = rotated_a;
  }
}

ReadKeys::ReadKeys(const Architecture& architecture, int64_t layer, const InputRows& stored, int64_t tokens,
                   int64_t first_position, const ParallelFor& workers)
    : rows_(stored) {
  if (!architecture.layers.at(static_cast<size_t>(layer)).rotate_on_read) return;
  const KvStore& store = architecture.store_of(layer);
  const int64_t width = store.kv_heads * store.key_dim;
  for (int64_t i = 0; i < tokens * width; ++i) rotated_.push_back(stored.at(0, 0, i / width, i % width));
  RopeTable(architecture, layer)
      .rotate(rotated_.data(), tokens, store.kv_heads, store.key_dim, first_position, workers);
  rows_ = {rotated_.data(), 0, 0, width};
}

}  // namespace headscope
