// Sums of the weights of a block of keys over equal bins, compiled once per vector target.
#if defined(HEADSCOPE_BIN_SUMS_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_BIN_SUMS_INL
#undef HEADSCOPE_BIN_SUMS_INL
#else
#define HEADSCOPE_BIN_SUMS_INL
#endif

#include "kernels/cpu/scores-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::cpu::HWY_NAMESPACE {

/// Per block of four lanes: {a0 + a2, b0 + b2, a1 + a3, b1 + b3}.
HWY_INLINE V add_pairs(V a, V b) {
  const F d;
  return hn::Add(hn::InterleaveLower(d, a, b), hn::InterleaveUpper(d, a, b));
}

/// Per block of four lanes: the sums of a, b, c and e.
HWY_INLINE V add_fours(V a, V b, V c, V e) {
  const hn::Repartition<double, F> d64;
  const auto first = hn::BitCast(d64, add_pairs(a, b)), second = hn::BitCast(d64, add_pairs(c, e));
  const F d;
  return hn::Add(hn::BitCast(d, hn::InterleaveLower(d64, first, second)),
                 hn::BitCast(d, hn::InterleaveUpper(d64, first, second)));
}

/// Lane i is the sum of the lanes of rows[i], for as many rows as there are lanes: a third of the steps that summing
/// each on its own takes.
HWY_INLINE V sums_of_rows(const V* rows) {
  const V first = add_fours(rows[0], rows[1], rows[2], rows[3]);
  if constexpr (lanes == 4) {
    return first;
  } else {
    const auto fold = [](V x) HWY_ATTR { return hn::Add(x, hn::SwapAdjacentBlocks(x)); };
    const V second = add_fours(rows[4], rows[5], rows[6], rows[7]);
    if constexpr (lanes == 8) {
      return hn::OddEvenBlocks(fold(second), fold(first));
    } else {
      const F d;
      const auto halves = [&](V x, V y) HWY_ATTR {
        return hn::Add(hn::ConcatLowerLower(d, y, x), hn::ConcatUpperUpper(d, y, x));
      };
      const V third = add_fours(rows[8], rows[9], rows[10], rows[11]);
      const V fourth = add_fours(rows[12], rows[13], rows[14], rows[15]);
      return hn::OddEvenBlocks(fold(halves(second, fourth)), fold(halves(first, third)));
    }
  }
}

/// Whether add_bins takes bins of so many keys: they are whole vectors, and blocks whole bins.
constexpr bool bins_are_whole(int64_t bin) { return bin % lanes == 0 && block_keys % bin == 0; }

/// Adds to bins[i] the sum of weights[i * bin, (i + 1) * bin) of a whole block of keys.
HWY_INLINE void add_bins(const float* weights, int64_t bin, float* bins) {
  const F d;
  const int64_t count = block_keys / bin;
  for (int64_t first = 0; first < count; first += lanes) {
    V rows[lanes];
    for (int64_t i = 0; i < lanes; ++i) {
      rows[i] = hn::Zero(d);
      const float* from = weights + (first + i) * bin;
      for (int64_t k = 0; first + i < count && k < bin; k += lanes) rows[i] = hn::Add(rows[i], hn::Load(d, from + k));
    }
    HWY_ALIGN float sums[lanes];
    hn::Store(sums_of_rows(rows), d, sums);
    for (int64_t i = 0; i < lanes && first + i < count; ++i) bins[first + i] += sums[i];
  }
}

}  // namespace headscope::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
