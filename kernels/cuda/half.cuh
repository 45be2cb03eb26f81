#pragma once

#include "kernels/cuda/device.h"

namespace headscope::cuda {

/// f16 bits to nearest even of a number >= 0, or of NaN; what rounds to more than 65,504 is infinity.
HEADSCOPE_DEVICE uint16_t half_bits(float x) {
  if (x != x) return 0x7E00;
  if (!(x < 65520)) return 0x7C00;
  // Below 2^-14 f16 counts in units of 2^-24; so does f32 between 1/2 and 1, and adding rounds to them.
  if (x < 0x1p-14F) return static_cast<uint16_t>(bits_of_float(x + 0.5F) - bits_of_float(0.5F));
  const uint32_t bits = bits_of_float(x), odd = bits >> 13 & 1;
  return static_cast<uint16_t>((bits + 0xFFF + odd - (112U << 23)) >> 13);  // another bias, half a unit
}

}  // namespace headscope::cuda
