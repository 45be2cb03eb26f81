// bf16 as f32, compiled once per vector target.
#if defined(HEADSCOPE_BF16_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_BF16_INL
#undef HEADSCOPE_BF16_INL
#else
#define HEADSCOPE_BF16_INL
#endif

#include "kernels/bf16.h"
#include "kernels/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::cpu::HWY_NAMESPACE {

HWY_INLINE V widened(const uint16_t* at) {
  const hn::RebindToUnsigned<F> d32;
  const hn::Rebind<uint16_t, F> d16;
  return hn::BitCast(F(), hn::ShiftLeft<16>(hn::PromoteTo(d32, hn::LoadU(d16, at))));
}
HWY_INLINE V widened(const float* at) { return hn::LoadU(F(), at); }

/// Of words of two bf16: those in the lower halves, and in the upper ones.
HWY_INLINE V lower_halves(V words) {
  return hn::BitCast(F(), hn::ShiftLeft<16>(hn::BitCast(hn::RebindToUnsigned<F>(), words)));
}
HWY_INLINE V upper_halves(V words) {
  const auto bits = hn::BitCast(hn::RebindToUnsigned<F>(), words);
  return hn::BitCast(F(), hn::ShiftLeft<16>(hn::ShiftRight<16>(bits)));
}

HWY_INLINE float widened_one(uint16_t value) { return from_bf16(value); }
HWY_INLINE float widened_one(float value) { return value; }

}  // namespace headscope::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
