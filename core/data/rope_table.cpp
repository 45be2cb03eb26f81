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

void RopeTable::angles(int64_t first_position, int64_t tokens, float* cosines, float* sines) const {
  Angles at_one{inverse_frequencies_, inverse_frequencies_};
  for (int64_t token = 0; token < tokens; ++token) {
    turn(static_cast<float>(first_position + token), at_one);
    std::copy(at_one.cosines.begin(), at_one.cosines.end(), cosines + token * pairs());
    std::copy(at_one.sines.begin(), at_one.sines.end(), sines + token * pairs());
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

namespace {

/// At least `positions`, and an odd number of cache lines: rows that lie powers of two apart throw each other out of
/// caches.
int64_t row_floats(int64_t positions) {
  constexpr int64_t line = 64 / sizeof(float);
  return ((positions + line - 1) / line | 1) * line;
}

}  // namespace

KeyAngles::KeyAngles(const RopeTable& rope, int64_t positions, const ParallelFor& workers,
                     std::shared_ptr<const Device> device)
    : positions_(positions), device_(std::move(device)) {
  const size_t pairs = rope.inverse_frequencies_.size();
  const auto stride = static_cast<size_t>(row_floats(positions));
  shape_ = {nullptr, nullptr, static_cast<int64_t>(stride), static_cast<int64_t>(pairs), rope.offset_, rope.style_};
  tables_.resize(2 * pairs * stride);
  constexpr int64_t batch = 256;  // positions a task
  workers.run((positions + batch - 1) / batch, [&](int64_t task, int) {
    RopeTable::Angles angles{rope.inverse_frequencies_, rope.inverse_frequencies_};
    for (int64_t position = task * batch; position < std::min(positions, (task + 1) * batch); ++position) {
      rope.turn(static_cast<float>(position), angles);
      for (size_t pair = 0; pair < pairs; ++pair) {
        const size_t at = pair * stride + static_cast<size_t>(position);
        tables_[at] = angles.cosines[pair];
        tables_[pairs * stride + at] = angles.sines[pair];
      }
    }
  });
  there_.emplace(*device_, tables_, nullptr, MemoryPurpose::viewer);
}

KeyAngles::KeyAngles(const KeyAngles& other, std::shared_ptr<const Device> device)
    : positions_(other.positions_), shape_(other.shape_), device_(std::move(device)), tables_(other.tables_) {
  there_.emplace(*device_, tables_, nullptr, MemoryPurpose::viewer);
}

std::shared_ptr<const KeyAngles> KeyAngles::on_host() const {
  if (device_->is_host()) return shared_from_this();
  return std::shared_ptr<const KeyAngles>(new KeyAngles(*this, host()));
}

KeyRotation KeyAngles::rotation() const {
  KeyRotation rotation = shape_;
  rotation.cosines = there_->data();
  rotation.sines = rotation.cosines + rotation.pairs * rotation.stride;
  return rotation;
}

}  // namespace headscope
