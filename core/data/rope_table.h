#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "core/arch/architecture.h"
#include "core/data/on_device.h"
#include "kernels/attention.h"
#include "kernels/parallel.h"

namespace headscope {

/// Rope angles in f32, as the models were trained: angle = position * inverse frequency, both rounded to f32.
class RopeTable {
 public:
  /// Of one layer's queries, and of the keys it writes, in a pass that ends at `tokens` tokens (dynamic scaling).
  /// Rotates nothing in a model without rope.
  RopeTable(const Architecture&, int64_t layer, int64_t tokens = 0);
  /// Rotates rows [tokens, heads, dim] in place; row t has position first_position + t.
  void rotate(float* rows, int64_t tokens, int64_t heads, int64_t dim, int64_t first_position,
              const ParallelFor&) const;
  /// Cosines and sines [tokens][pairs()], yarn's factor in them, of the positions from `first_position` on.
  void angles(int64_t first_position, int64_t tokens, float* cosines, float* sines) const;
  int64_t pairs() const { return static_cast<int64_t>(inverse_frequencies_.size()); }
  int64_t offset() const { return offset_; }  ///< of the first dimension that may turn
  RotationStyle style() const { return style_; }
  bool operator==(const RopeTable&) const = default;

 private:
  friend class KeyAngles;
  /// Of all pairs at one position.
  struct Angles {
    std::vector<float> cosines, sines;
  };
  void turn(float position, Angles&) const;
  void rotate_row(float* row, const Angles&) const;

  int64_t offset_ = 0;
  RotationStyle style_ = RotationStyle::rotate_half;
  float factor_ = 1;  ///< yarn's, on what is rotated
  std::vector<float> inverse_frequencies_;
};

/// A rope's angles at the positions of keys, for kernels that rotate keys while they read them (kernels/attention.h).
/// Immutable: runs and their snapshots share it.
class KeyAngles : public std::enable_shared_from_this<KeyAngles> {
 public:
  /// Of positions [0, positions), in the memory of a device. Keys that are rotated by it have the bits that
  /// RopeTable::rotate gives them, where the kernel is the host's.
  KeyAngles(const RopeTable&, int64_t positions, const ParallelFor&, std::shared_ptr<const Device> = host());
  int64_t positions() const { return positions_; }
  /// Points into this.
  KeyRotation rotation() const;
  /// The same for kernels of the host.
  std::shared_ptr<const KeyAngles> on_host() const;

 private:
  KeyAngles(const KeyAngles& other, std::shared_ptr<const Device>);

  int64_t positions_;
  KeyRotation shape_;  ///< without the tables
  std::shared_ptr<const Device> device_;
  std::vector<float> tables_;  ///< cosines, then sines, each [pairs][stride]
  std::optional<OnDevice<float>> there_;
};

}  // namespace headscope
