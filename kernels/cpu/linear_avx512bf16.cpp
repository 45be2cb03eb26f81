#include "kernels/cpu/linear_avx512bf16.h"

#if defined(__x86_64__)

#include <immintrin.h>

// Includes nothing of the standard library that has code: inline functions compiled here with AVX-512 could be the ones
// that the linker keeps for everybody.

namespace headscope::cpu::avx512bf16 {
namespace {

constexpr int64_t width = 64, words_of_line = 16;

/// One token's results. Named vectors, not an array: GCC keeps these in registers.
struct TileRow {
  __m512 v0, v1, v2, v3;

  void load(const float* from) {
    v0 = _mm512_load_ps(from);
    v1 = _mm512_load_ps(from + 16);
    v2 = _mm512_load_ps(from + 32);
    v3 = _mm512_load_ps(from + 48);
  }
  void store(float* to) const {
    _mm512_store_ps(to, v0);
    _mm512_store_ps(to + 16, v1);
    _mm512_store_ps(to + 32, v2);
    _mm512_store_ps(to + 48, v3);
  }
  void add(const float* left, const TileRow& right) {
    const auto l = reinterpret_cast<__m512bh>(_mm512_set1_ps(*left));
    v0 = _mm512_dpbf16_ps(v0, l, reinterpret_cast<__m512bh>(right.v0));
    v1 = _mm512_dpbf16_ps(v1, l, reinterpret_cast<__m512bh>(right.v1));
    v2 = _mm512_dpbf16_ps(v2, l, reinterpret_cast<__m512bh>(right.v2));
    v3 = _mm512_dpbf16_ps(v3, l, reinterpret_cast<__m512bh>(right.v3));
  }
};

/// For up to kTokens tokens; the last one stands in for those that are missing.
template <int kTokens>
void multiply_tile(const Tokens& left, const float* right, int64_t words, float* result) {
  const auto token = [&](int64_t t) { return left.words + (t < left.count ? t : left.count - 1) * left.stride; };
  const float *x0 = token(0), *x1 = token(1), *x2 = token(2), *x3 = token(3), *x4 = token(4), *x5 = token(5);
  TileRow r0, r1, r2, r3, r4, r5;
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
      TileRow b;
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

void multiply_panel(const Tokens& left, const float* right, int64_t words, float* result) {
  if (left.count > 4) return multiply_tile<6>(left, right, words, result);
  if (left.count > 2) return multiply_tile<4>(left, right, words, result);
  if (left.count > 1) return multiply_tile<2>(left, right, words, result);
  multiply_tile<1>(left, right, words, result);
}

}  // namespace headscope::cpu::avx512bf16

#endif
