#pragma once

#include <cstddef>

#include "kernels/attention.h"

namespace headscope::cuda {

/// Rows of keys or values in global memory as tiles are copied from: bf16 planes (planes.cuh), every row aligned to 16
/// bytes. Strides count numbers.
struct PlaneRows {
  const uint16_t* data = nullptr;
  int64_t batch_stride = 0, head_stride = 0, row_stride = 0, plane_stride = 0;
  int64_t first_key = 0;  ///< that of row 0
  int dim = 0;            ///< numbers of a row, a multiple of 8
  int count = 1;          ///< planes
};

/// The keys or values of a problem that some row sees, and how they become planes: where they lie as planes already
/// they are read in place, otherwise they are split (and rotated) once for all rows into memory of the caller.
class PlaneSource {
 public:
  static PlaneSource keys(const AttentionProblem&);
  static PlaneSource values(const AttentionProblem&);

  /// Memory that `planes` needs; 0 where rows are read in place.
  size_t bytes() const;
  /// Starts the splitting into `memory` (aligned to 16 bytes) on a stream.
  PlaneRows planes(std::byte* memory, void* stream) const;

 private:
  PlaneSource(const AttentionProblem&, const InputRows&, int64_t dim, const KeyRotation&);
  bool in_place() const;

  InputRows rows_;
  KeyRotation rotation_;
  int64_t batch_, heads_, dim_;
  int64_t first_key_;        ///< of row 0
  int64_t begin_ = 0, end_;  ///< keys that are seen
  int planes_;
};

}  // namespace headscope::cuda
