// exp, log2 and tanh for the CPU kernels, compiled once per vector target. Accuracy is tested over the whole range.
#if defined(HEADSCOPE_VECTOR_MATH_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_VECTOR_MATH_INL
#undef HEADSCOPE_VECTOR_MATH_INL
#else
#define HEADSCOPE_VECTOR_MATH_INL
#endif

#include <limits>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using F = hn::ScalableTag<float>;
using V = hn::Vec<F>;
using M = hn::Mask<F>;
inline constexpr int64_t lanes = hn::MaxLanes(F());
inline constexpr float minus_infinity = -std::numeric_limits<float>::infinity();

/// Below this a weight counts as 0: exp would leave the range of normal floats.
inline constexpr float exp_cut = -87.0F;

/// exp(x) for x <= 0; exactly 1 at 0, exactly 0 below exp_cut (so also at -inf), NaN at NaN. Relative error at most
/// 1.7e-7 + 1.4e-8 |x|: 9.2e-8 of it is the polynomial's (minimax of 2^r, degree 5, |r| <= 1/2), the second part log2 e
/// in one float, the rest rounding. Without FMA (SSE4): 2e-7 + 7e-8 |x|.
HWY_INLINE V exp_negative(V x) {
  const F d;
  // Adding 1.5 * 2^23 rounds to an integer n held in the low bits; the extra 127 is the exponent's bias.
  const V magic = hn::Set(d, 12582912.0F + 127.0F), log2_e = hn::Set(d, 1.44269504F);
  const V shifted = hn::MulAdd(x, log2_e, magic);
  const V r = hn::MulSub(x, log2_e, hn::Sub(shifted, magic));
  V y = hn::Set(d, 0.0013264727F);
  y = hn::MulAdd(y, r, hn::Set(d, 0.009671513F));
  y = hn::MulAdd(y, r, hn::Set(d, 0.055507336F));
  y = hn::MulAdd(y, r, hn::Set(d, 0.24022242F));
  y = hn::MulAdd(y, r, hn::Set(d, 0.693147F));
  y = hn::MulAdd(y, r, hn::Set(d, 1.0F));
  const hn::RebindToSigned<F> di;
  const V power = hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(di, shifted)));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, exp_cut)), hn::Mul(y, power));
}

/// The same for maps, a quarter dearer: it never falls as x rises (all floats were tried), so that the exponential of a
/// maximum is the maximum of the exponentials. Relative error at most 1.3e-7: the polynomial (minimax of degree 6 on
/// |r| <= ln2 / 2) gives 2.2e-9 of it, rounding the rest.
HWY_INLINE V exp_rising(V x_any) {
  const F d;
  const M gone = hn::Lt(x_any, hn::Set(d, exp_cut));
  const V x = hn::IfThenElse(gone, hn::Set(d, exp_cut), x_any);
  // Adding 1.5 * 2^23 rounds to an integer n held in the low bits; the extra 127 is the exponent's bias.
  const V magic = hn::Set(d, 12582912.0F + 127.0F);
  const V shifted = hn::MulAdd(x, hn::Set(d, 1.44269504F), magic);
  const V n = hn::Sub(shifted, magic);
  V r = hn::NegMulAdd(n, hn::Set(d, 0.693359375F), x);  // 355/512: exact times n, also without FMA
  r = hn::MulAdd(n, hn::Set(d, 2.12194440e-4F), r);
  V y = hn::Set(d, 0.0013842712F);
  y = hn::MulAdd(y, r, hn::Set(d, 0.008374965F));
  y = hn::MulAdd(y, r, hn::Set(d, 0.041668057F));
  y = hn::MulAdd(y, r, hn::Set(d, 0.16666421F));
  y = hn::MulAdd(y, r, hn::Set(d, 0.49999994F));
  y = hn::Add(hn::MulAdd(y, hn::Mul(r, r), r), hn::Set(d, 1.0F));  // 1 + (r + ...): Horner's form falls in places
  const hn::RebindToSigned<F> di;
  const V power = hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(di, shifted)));
  return hn::IfThenZeroElse(gone, hn::Mul(y, power));
}

/// log2(x) for x > 0: relative error at most 2e-7; exactly the exponent at powers of 2. The polynomial (minimax of
/// degree 8 for log2(1 + f) / f on 1 + f in [sqrt(1/2), sqrt(2)]) gives 2.6e-8 of it, rounding the rest. Meant for sums
/// of x log2(x): at 0 and at subnormal numbers it is finite, between -127 and -126, so that x times it is exactly 0 at
/// 0 and off by at most 4e-39 elsewhere. At NaN it is any number.
HWY_INLINE V log2_positive(V x) {
  const F d;
  const hn::RebindToSigned<F> di;
  // Bits of sqrt(1/2). Counting from there, the exponent field steps where the mantissa passes sqrt(2).
  const auto root_half = hn::Set(di, 0x3F3504F3);
  const auto bits = hn::Sub(hn::BitCast(di, x), root_half);
  const V exponent = hn::ConvertTo(d, hn::ShiftRight<23>(bits));
  const auto mantissa = hn::Add(hn::And(bits, hn::Set(di, 0x007FFFFF)), root_half);
  const V f = hn::Sub(hn::BitCast(d, mantissa), hn::Set(d, 1.0F));
  V y = hn::Set(d, 0.125837145F);
  y = hn::MulAdd(y, f, hn::Set(d, -0.207269847F));
  y = hn::MulAdd(y, f, hn::Set(d, 0.215715605F));
  y = hn::MulAdd(y, f, hn::Set(d, -0.238944806F));
  y = hn::MulAdd(y, f, hn::Set(d, 0.287916247F));
  y = hn::MulAdd(y, f, hn::Set(d, -0.360703683F));
  y = hn::MulAdd(y, f, hn::Set(d, 0.480910643F));
  y = hn::MulAdd(y, f, hn::Set(d, -0.721347347F));
  y = hn::MulAdd(y, f, hn::Set(d, 1.442695004F));
  return hn::MulAdd(y, f, exponent);
}

/// tanh(x), relative error at most 3e-7.
HWY_INLINE V tanh_any(V x) {
  const F d;
  const V size = hn::Abs(x);
  const V z = hn::Mul(x, x);
  V y = hn::Set(d, -0.0056039128F);
  y = hn::MulAdd(y, z, hn::Set(d, 0.020551719F));
  y = hn::MulAdd(y, z, hn::Set(d, -0.053714108F));
  y = hn::MulAdd(y, z, hn::Set(d, 0.13331152F));
  y = hn::MulAdd(y, z, hn::Set(d, -0.33333272F));
  const V small = hn::MulAdd(hn::Mul(y, z), x, x);
  const V t = exp_negative(hn::Mul(size, hn::Set(d, -2.0F)));
  const V one = hn::Set(d, 1.0F);
  const V large = hn::CopySign(hn::Sub(one, hn::Div(hn::Add(t, t), hn::Add(one, t))), x);
  return hn::IfThenElse(hn::Lt(size, hn::Set(d, 0.6F)), small, large);
}

}  // namespace headscope::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
