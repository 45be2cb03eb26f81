// From scores to weights, one block of keys at a time, compiled once per vector target.
#if defined(HEADSCOPE_SOFTMAX_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_SOFTMAX_INL
#undef HEADSCOPE_SOFTMAX_INL
#else
#define HEADSCOPE_SOFTMAX_INL
#endif

#include "kernels/cpu/sums-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::cpu::HWY_NAMESPACE {

/// What one block adds to the rows of a panel, side by side. Sums are f32: at most block_keys terms in `lanes` partial
/// sums each. Moments count columns from the peak of the row, so that a sharp row keeps its digits.
struct BlockSums {
  HWY_ALIGN float peak[panel_floats];           ///< largest score
  HWY_ALIGN double peak_key[panel_lanes] = {};  ///< the first key that has it
  HWY_ALIGN float sum[panel_floats] = {};       ///< w
  HWY_ALIGN float cross[panel_floats] = {};     ///< w (s - row_max)
  HWY_ALIGN float moment1[panel_floats] = {};   ///< w (column - peak's)
  HWY_ALIGN float moment2[panel_floats] = {};   ///< w (column - peak's)^2
  HWY_ALIGN float sink[panel_floats] = {};
  HWY_ALIGN float window[panel_floats] = {};

  BlockSums() { std::fill_n(peak, panel_floats, minus_infinity); }
};

HWY_INLINE void join(PanelState& state, const BlockSums& block) {
  const F64 d;
  for_each_double([&](int64_t i) HWY_ATTR {
    const V64 added = load_doubles(block.sum + i), moment = load_doubles(block.moment1 + i);
    const V64 offset = hn::IfThenElseZero(hn::Gt(added, hn::Zero(d)), hn::Div(moment, added));
    const V64 scatter = hn::Max(hn::Zero(d), hn::NegMulAdd(moment, offset, load_doubles(block.moment2 + i)));
    join_moments(state, i, added, hn::Add(hn::Load(d, block.peak_key + i), offset), scatter);
    const auto add = [&](double* to, const float* from)
                         HWY_ATTR { hn::Store(hn::Add(hn::Load(d, to + i), load_doubles(from + i)), d, to + i); };
    add(state.cross, block.cross);
    add(state.sink, block.sink);
    add(state.window, block.window);
  });
}

/// Scores -> weights exp(score - row_max) and their sums; moments count from the column `anchor`.
template <bool kStatistics>
HWY_INLINE void weigh(float row_max, KeyRange span, int64_t anchor, float* scores, int64_t lane, BlockSums& sums) {
  const F d;
  // A row that has seen no score yet subtracts 0: -inf stays a weight of 0 and NaN stays NaN.
  const V shift = hn::Set(d, row_max == minus_infinity ? 0.0F : row_max);
  V sum = hn::Zero(d), cross = hn::Zero(d), moment1 = hn::Zero(d), moment2 = hn::Zero(d);
  const int64_t begin = round_down(span.begin, lanes);
  V offset = hn::Iota(d, static_cast<float>(begin - anchor));
  for (int64_t c = begin; c < span.end; c += lanes) {
    const V x = hn::Sub(hn::Load(d, scores + c), shift);
    const V w = exp_negative(x);
    hn::Store(w, d, scores + c);
    sum = hn::Add(sum, w);
    if constexpr (kStatistics) {
      cross = hn::MulAdd(w, hn::Max(x, hn::Set(d, exp_cut)), cross);  // 0 times -inf would be NaN
      const V moment = hn::Mul(w, offset);
      moment1 = hn::Add(moment1, moment);
      moment2 = hn::MulAdd(moment, offset, moment2);
      offset = hn::Add(offset, hn::Set(d, static_cast<float>(lanes)));
    }
  }
  sums.sum[lane] = hn::GetLane(hn::SumOfLanes(d, sum));
  if constexpr (kStatistics) {
    sums.cross[lane] = hn::GetLane(hn::SumOfLanes(d, cross));
    sums.moment1[lane] = hn::GetLane(hn::SumOfLanes(d, moment1));
    sums.moment2[lane] = hn::GetLane(hn::SumOfLanes(d, moment2));
  }
}

}  // namespace headscope::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
