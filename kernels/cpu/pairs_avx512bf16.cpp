#include "kernels/cpu/pairs_avx512bf16.h"

#if defined(__x86_64__)

#include <immintrin.h>

// Includes nothing of the standard library that has code: inline functions compiled here with AVX-512 could be the ones
// that the linker keeps for everybody.

namespace headscope::cpu::avx512bf16 {
namespace {

constexpr int64_t width = 64, words_of_line = 16;

/// One row of results. Named vectors, not an array: GCC keeps these in registers.
template <int kVectors = 4>
struct TileRow {
  __m512 v0, v1, v2, v3;

  void clear() { v0 = v1 = v2 = v3 = _mm512_setzero_ps(); }
  void load(const float* from) {
    v0 = _mm512_load_ps(from);
    if constexpr (kVectors > 1) v1 = _mm512_load_ps(from + 16);
    if constexpr (kVectors > 2) v2 = _mm512_load_ps(from + 32);
    if constexpr (kVectors > 3) v3 = _mm512_load_ps(from + 48);
  }
  void scale(float factor) {
    const __m512 f = _mm512_set1_ps(factor);
    v0 = _mm512_mul_ps(f, v0);
    if constexpr (kVectors > 1) v1 = _mm512_mul_ps(f, v1);
    if constexpr (kVectors > 2) v2 = _mm512_mul_ps(f, v2);
    if constexpr (kVectors > 3) v3 = _mm512_mul_ps(f, v3);
  }
  void store(float* to) const {
    _mm512_store_ps(to, v0);
    if constexpr (kVectors > 1) _mm512_store_ps(to + 16, v1);
    if constexpr (kVectors > 2) _mm512_store_ps(to + 32, v2);
    if constexpr (kVectors > 3) _mm512_store_ps(to + 48, v3);
  }
  void add(const float* left, const TileRow& right) {
    const auto l = reinterpret_cast<__m512bh>(_mm512_set1_ps(*left));
    v0 = _mm512_dpbf16_ps(v0, l, reinterpret_cast<__m512bh>(right.v0));
    if constexpr (kVectors > 1) v1 = _mm512_dpbf16_ps(v1, l, reinterpret_cast<__m512bh>(right.v1));
    if constexpr (kVectors > 2) v2 = _mm512_dpbf16_ps(v2, l, reinterpret_cast<__m512bh>(right.v2));
    if constexpr (kVectors > 3) v3 = _mm512_dpbf16_ps(v3, l, reinterpret_cast<__m512bh>(right.v3));
  }
};

/// Rows of a product.
struct Product {
  const float *left, *right;
  int64_t left_stride, words;
  const float* factors;
  float scale;
  float* result;
  int64_t result_stride;
};

// Inlined: a call would keep the tile in memory.
template <int kVectors>
[[gnu::always_inline]] inline void start(const Product& p, int row, TileRow<kVectors>& tile) {
  tile.clear();
  if (p.factors == nullptr) return;
  tile.load(p.result + row * p.result_stride);
  tile.scale(p.factors[row]);
}

template <int kVectors>
[[gnu::always_inline]] inline void finish(const Product& p, int row, TileRow<kVectors>& tile) {
  tile.scale(p.scale);
  tile.store(p.result + row * p.result_stride);
}

template <int kRows, int kVectors>
void multiply_rows(const Product& p) {
  TileRow<kVectors> r0, r1, r2, r3, r4, r5;
  start(p, 0, r0);
  if constexpr (kRows > 1) start(p, 1, r1);
  if constexpr (kRows > 2) start(p, 2, r2);
  if constexpr (kRows > 3) start(p, 3, r3);
  if constexpr (kRows > 4) start(p, 4, r4);
  if constexpr (kRows > 5) start(p, 5, r5);
  const float *left = p.left, *right = p.right;
  for (int64_t word = 0; word < p.words; ++word) {
    TileRow<kVectors> b;
    b.load(right);
    r0.add(left, b);
    if constexpr (kRows > 1) r1.add(left + 1 * p.left_stride, b);
    if constexpr (kRows > 2) r2.add(left + 2 * p.left_stride, b);
    if constexpr (kRows > 3) r3.add(left + 3 * p.left_stride, b);
    if constexpr (kRows > 4) r4.add(left + 4 * p.left_stride, b);
    if constexpr (kRows > 5) r5.add(left + 5 * p.left_stride, b);
    ++left;
    right += kVectors * 16;
  }
  finish(p, 0, r0);
  if constexpr (kRows > 1) finish(p, 1, r1);
  if constexpr (kRows > 2) finish(p, 2, r2);
  if constexpr (kRows > 3) finish(p, 3, r3);
  if constexpr (kRows > 4) finish(p, 4, r4);
  if constexpr (kRows > 5) finish(p, 5, r5);
}

template <int kVectors>
void multiply_rows(int64_t rows, const Product& p) {
  if (rows > 4) return multiply_rows<6, kVectors>(p);
  if (rows > 2) return multiply_rows<4, kVectors>(p);
  if (rows > 1) return multiply_rows<2, kVectors>(p);
  multiply_rows<1, kVectors>(p);
}

/// For up to kTokens tokens; the last one stands in for those that are missing.
template <int kTokens>
void multiply_tile(const Tokens& left, const float* right, int64_t words, float* result) {
  const auto token = [&](int64_t t) { return left.words + (t < left.count ? t : left.count - 1) * left.stride; };
  const float *x0 = token(0), *x1 = token(1), *x2 = token(2), *x3 = token(3), *x4 = token(4), *x5 = token(5);
  TileRow<> r0, r1, r2, r3, r4, r5;
  r0.load(result);
  if constexpr (kTokens > 1) r1.load(result + width);
  if constexpr (kTokens > 2) r2.load(result + 2 * width);
  if constexpr (kTokens > 3) r3.load(result + 3 * width);
  if constexpr (kTokens > 4) r4.load(result + 4 * width);
  if constexpr (kTokens > 5) r5.load(result + 5 * width);
  for (int64_t begin = 0; begin < words; begin += words_of_line) {
    const int64_t end = begin + words_of_line < words ? begin + words_of_line : words;
    for (int64_t t = 0; t < kTokens; ++t) {
      const float* next = left.next + t * left.next_stride + 2 * begin;  // a word is two columns
      _mm_prefetch(next, _MM_HINT_T0);
      _mm_prefetch(next + words_of_line, _MM_HINT_T0);
    }
    for (int64_t word = begin; word < end; ++word) {
      TileRow<> b;
      b.load(right + word * width);
      r0.add(x0 + word, b);
      if constexpr (kTokens > 1) r1.add(x1 + word, b);
      if constexpr (kTokens > 2) r2.add(x2 + word, b);
      if constexpr (kTokens > 3) r3.add(x3 + word, b);
      if constexpr (kTokens > 4) r4.add(x4 + word, b);
      if constexpr (kTokens > 5) r5.add(x5 + word, b);
    }
  }
  r0.store(result);
  if constexpr (kTokens > 1) r1.store(result + width);
  if constexpr (kTokens > 2) r2.store(result + 2 * width);
  if constexpr (kTokens > 3) r3.store(result + 3 * width);
  if constexpr (kTokens > 4) r4.store(result + 4 * width);
  if constexpr (kTokens > 5) r5.store(result + 5 * width);
}

}  // namespace

void round_pairs(const float* from, int64_t columns, float* words) {
  int64_t c = 0;
  for (; c + 16 <= columns; c += 16) {
    _mm256_storeu_ps(words + c / 2, reinterpret_cast<__m256>(_mm512_cvtneps_pbh(_mm512_loadu_ps(from + c))));
  }
  if (c == columns) return;
  const auto present = static_cast<__mmask16>((1U << (columns - c)) - 1);
  const auto stored = static_cast<__mmask8>((1U << ((columns - c + 1) / 2)) - 1);
  const __m512 values = _mm512_maskz_loadu_ps(present, from + c);
  _mm256_mask_storeu_ps(words + c / 2, stored, reinterpret_cast<__m256>(_mm512_cvtneps_pbh(values)));
}

void multiply_rows(int64_t vectors, int64_t rows, const float* left, int64_t left_stride, const float* right,
                   int64_t words, const float* factors, float scale, float* result, int64_t result_stride) {
  const Product product{left, right, left_stride, words, factors, scale, result, result_stride};
  if (vectors == 4) return multiply_rows<4>(rows, product);
  if (vectors == 3) return multiply_rows<3>(rows, product);
  if (vectors == 2) return multiply_rows<2>(rows, product);
  multiply_rows<1>(rows, product);
}

void multiply_panel(const Tokens& left, const float* right, int64_t words, float* result) {
  if (left.count > 4) return multiply_tile<6>(left, right, words, result);
  if (left.count > 2) return multiply_tile<4>(left, right, words, result);
  if (left.count > 1) return multiply_tile<2>(left, right, words, result);
  multiply_tile<1>(left, right, words, result);
}

}  // namespace headscope::cpu::avx512bf16

#endif
