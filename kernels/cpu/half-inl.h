// f32 weights -> f16 bits, compiled once per vector target. Highway 1.0.3 truncates where a target has no instruction
// for it.
#if defined(HEADSCOPE_HALF_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_HALF_INL
#undef HEADSCOPE_HALF_INL
#else
#define HEADSCOPE_HALF_INL
#endif

#include <cstring>

#include "kernels/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::cpu::HWY_NAMESPACE {

using HalfBits = hn::Rebind<uint16_t, F>;

/// f16 bits to nearest even of numbers in [0, 65504], or of NaN.
HWY_INLINE hn::Vec<HalfBits> half_bits(V x) {
  const F d;
  const hn::RebindToSigned<F> di;
  const auto bits = hn::BitCast(di, x);
  // Below 2^-14 f16 counts in units of 2^-24; so does f32 between 1/2 and 1, and adding rounds to them.
  const auto small = hn::Sub(hn::BitCast(di, hn::Add(x, hn::Set(d, 0.5F))), hn::Set(di, 0x3F000000));
  const auto odd = hn::And(hn::ShiftRight<13>(bits), hn::Set(di, 1));
  const auto rounded = hn::Add(hn::Add(bits, odd), hn::Set(di, 0x0FFF - (112 << 23)));  // another bias, half a unit
  const auto normal = hn::ShiftRight<13>(rounded);
  const auto is_small = hn::RebindMask(di, hn::Lt(x, hn::Set(d, 6.103515625e-5F)));
  const auto half = hn::IfThenElse(is_small, small, normal);
  return hn::DemoteTo(HalfBits(), hn::IfThenElse(hn::RebindMask(di, hn::IsNaN(x)), hn::Set(di, 0x7E00), half));
}

/// Writes `count` numbers of `from` (readable in whole vectors, aligned) as f16.
HWY_INLINE void store_halves(const float* from, int64_t count, uint16_t* to) {
  const F d;
  const HalfBits d16;
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) hn::StoreU(half_bits(hn::Load(d, from + i)), d16, to + i);
  if (i == count) return;
  HWY_ALIGN uint16_t tail[lanes];
  hn::Store(half_bits(hn::Load(d, from + i)), d16, tail);
  std::memcpy(to + i, tail, static_cast<size_t>(count - i) * sizeof(uint16_t));
}

}  // namespace headscope::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
