#pragma once

#include <cstdint>
#include <vector>

#include "core/arch/architecture.h"
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

 private:
  /// Of all pairs at one position.
  struct Angles {
    std::vector<float> cosines, sines;
  };
  void turn(float position, Angles&) const;
  void rotate_row(float* row, const Angles&) const;

  int64_t offset_ = 0;  ///< of the first dimension that may turn
  RotationStyle style_ = RotationStyle::rotate_half;
  float factor_ = 1;  ///< yarn's, on what is rotated
  std::vector<float> inverse_frequencies_;
};

/// The keys of the cache that a layer reads, as its queries score them: as they are stored, or rotated by a layer that
/// rotates what it reads.
class ReadKeys {
 public:
  /// `stored` [tokens, kv_heads * key_dim], the first of position `first_position`, must outlive this.
  ReadKeys(const Architecture&, int64_t layer, const InputRows& stored, int64_t tokens, int64_t first_position,
           const ParallelFor&);
  const InputRows& rows() const { return rows_; }

 private:
  std::vector<float> rotated_;
  InputRows rows_;
};

}  // namespace headscope
