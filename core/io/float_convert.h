#pragma once

#include <bit>
#include <cstdint>
#include <span>

namespace headscope {

// Exact widening to f32: every f16 and bf16 value has one f32 equal to it, NaN payloads and signs included.
// Integer arithmetic only, so the result does not depend on the processor's denormal mode.

/// bfloat16 is the upper half of an f32.
inline float bf16_to_f32(uint16_t half) { return std::bit_cast<float>(static_cast<uint32_t>(half) << 16); }

/// IEEE 754 binary16: 1 sign, 5 exponent (bias 15), 10 fraction bits.
inline float f16_to_f32(uint16_t half) {
  const uint32_t sign = (half & 0x8000u) << 16;
  const uint32_t exponent = (half >> 10) & 0x1Fu;
  uint32_t fraction = half & 0x3FFu;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7F800000u | fraction << 13);
  if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 127 - 15) << 23 | fraction << 13);
  if (fraction == 0) return std::bit_cast<float>(sign);
  // A denormal is fraction * 2^-24: shift its highest set bit to where the hidden one of a normal f32 is.
  const uint32_t shift = static_cast<uint32_t>(std::countl_zero(fraction)) - 21;
  fraction = (fraction << shift) & 0x3FFu;
  return std::bit_cast<float>(sign | (127 - 14 - shift) << 23 | fraction << 13);
}

/// `out` has as many elements as `in`; they must not overlap.
inline void bf16_to_f32(std::span<const uint16_t> in, std::span<float> out) {
  for (size_t i = 0; i < in.size(); ++i) out[i] = bf16_to_f32(in[i]);
}
inline void f16_to_f32(std::span<const uint16_t> in, std::span<float> out) {
  for (size_t i = 0; i < in.size(); ++i) out[i] = f16_to_f32(in[i]);
}

}  // namespace headscope
