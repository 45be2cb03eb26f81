#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kernels/parallel.h"

namespace headscope {

/// y[t][r] = bias[r] + sum over c of weights[r][c] * x[t][c], the linear layer of a model, as plain data. Strides count
/// elements; columns are contiguous. Owns nothing.
struct LinearProblem {
  const float* weights = nullptr;          ///< [rows, columns], or
  const uint16_t* bf16_weights = nullptr;  ///< the same in bf16; one of the two is set
  int64_t rows = 0, columns = 0, row_stride = 0;
  const float* bias = nullptr;  ///< [rows] or null
  const float* x = nullptr;     ///< [tokens, columns]
  int64_t tokens = 0, x_stride = 0;
  float* y = nullptr;  ///< [tokens, rows]; overlaps nothing else
  int64_t y_stride = 0;
  bool exact = false;  ///< x is never rounded to bf16, whatever the weights are
};

/// Up to so many tokens the weights are read once, as they lie, which costs the time that memory takes; for more they
/// are packed for register tiles.
inline constexpr int64_t few_tokens = 8;

/// One implementation of linear layers. Stateless; may be called from any thread.
///
/// What every kernel promises, and tests/kernels/linear_test.cpp checks:
/// - Products and sums are f32. bf16 weights are widened, which rounds nothing; only kernels that say so round x to
///   bf16 (to nearest, ties to even), and then denormal numbers count as 0. Results are never rounded to bf16.
/// - Up to few_tokens tokens a result is a sum of sums over every so-many-th column; beyond, of sums over blocks of
///   columns that lie together. So results for few and for many tokens differ by rounding.
/// - Within each of the two a token's results are the same to the bit for any number of workers, whatever tokens are
///   beside it and however many, and a row's whatever rows are beside it.
/// - NaN and infinity in a weight row, a token or a bias reach the results of that row or token alone.
/// - Nothing is written beside y and the workspace, and no other memory is needed.
struct LinearKernel {
  std::string_view name;  ///< "cpu/AVX3" (AVX-512), "cpu/AVX2", "cpu/SSE4", "cpu/AVX512_BF16", which rounds x

  /// Whether this kernel can run the problem.
  bool (*supports)(const LinearProblem&);

  /// Scratch bytes that `multiply` needs for `workers` workers; the caller allocates (64-byte aligned).
  size_t (*workspace)(const LinearProblem&, int workers);

  void (*multiply)(const LinearProblem&, std::span<std::byte> workspace, const ParallelFor&);
};

/// All kernels that this machine can run, the fastest last.
std::span<const LinearKernel> linear_kernels();

/// The fastest kernel that supports the problem.
const LinearKernel& select_linear_kernel(const LinearProblem&);

}  // namespace headscope
