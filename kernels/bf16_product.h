#pragma once

#include <cstdint>

namespace headscope {

/// y[r] = sum over c of weights[r][c] * x[c]: a matrix in bf16 with one vector in f32, as decoding needs it. The
/// weights are widened as they pass by and read once; products and sums are f32.
///
/// Runs on the calling thread; results do not depend on how the rows are cut into calls.
struct Bf16Product {
  const uint16_t* weights = nullptr;  ///< [rows, columns], rows `row_stride` elements apart
  int64_t rows = 0, columns = 0, row_stride = 0;
  const float* x = nullptr;  ///< [columns]
  float* y = nullptr;        ///< [rows]
};

/// With the widest vectors that this processor has.
void multiply(const Bf16Product&);

}  // namespace headscope
