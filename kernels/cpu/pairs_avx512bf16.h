#pragma once

#include <cstdint>

namespace headscope::cpu::avx512bf16 {

// The parts of attention and linear layers that need AVX512_BF16, compiled with its own flags: call them where the
// processor has it. Two bf16 of neighbouring columns, the first in the lower half, are one 32-bit word; buffers of
// words are declared as float, as those of the f32 kernels are.

/// Rounds `columns` numbers to (columns + 1) / 2 words, to nearest, ties to even; denormal numbers become 0. An odd
/// last column is paired with 0.
void round_pairs(const float* from, int64_t columns, float* words);

/// result[row] = scale * ((factors ? factors[row] * result[row] : 0) + sum over words, in order, of the products of
/// both halves of left[row * left_stride + word] and right[word]), for 1 to 6 rows of `vectors` times 16 numbers, 1 to
/// 4; spare rows, up to 6, may be computed as well. `right` is [words][vectors * 16]; it and the rows of `result` are
/// 64-byte aligned.
void multiply_rows(int64_t vectors, int64_t rows, const float* left, int64_t left_stride, const float* right,
                   int64_t words, const float* factors, float scale, float* result, int64_t result_stride);

/// 1 to 6 tokens: words, rows `stride` words apart, and the f32 rows that are rounded after them, which are fetched
/// meanwhile.
struct Tokens {
  const float* words;
  int64_t stride, count;
  const float* next;
  int64_t next_stride;
};

/// result[token][r] += sum over words, in order, of the products of both halves of left[token][word] and
/// right[word][r]. `right` is [words][64], `result` [6][64], both 64-byte aligned.
void multiply_panel(const Tokens& left, const float* right, int64_t words, float* result);

}  // namespace headscope::cpu::avx512bf16
