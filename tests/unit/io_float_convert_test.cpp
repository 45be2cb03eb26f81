#include "core/io/float_convert.h"

#include <cmath>
#include <cstring>
#include <limits>

#include <gtest/gtest.h>

namespace headscope {
namespace {

uint32_t bits_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

/// The value by the definition of the format, in double arithmetic.
double value_of(unsigned half, int exponent_bits, int fraction_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = static_cast<int>(half >> fraction_bits) & ((1 << exponent_bits) - 1);
  const double fraction = std::ldexp(static_cast<double>(half & ((1u << fraction_bits) - 1)), -fraction_bits);
  const double sign = half >> 15 ? -1.0 : 1.0;
  if (exponent == (1 << exponent_bits) - 1) {
    return fraction == 0 ? sign * std::numeric_limits<double>::infinity() : std::nan("");
  }
  return sign * (exponent == 0 ? std::ldexp(fraction, 1 - bias) : std::ldexp(1 + fraction, exponent - bias));
}

void expect_all_values(float (*convert)(uint16_t), int exponent_bits, int fraction_bits) {
  for (unsigned half = 0; half < 65536; ++half) {
    const float actual = convert(static_cast<uint16_t>(half));
    const double expected = value_of(half, exponent_bits, fraction_bits);
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(actual)) << half;
      const uint32_t payload = (half & ((1u << fraction_bits) - 1)) << (23 - fraction_bits);
      ASSERT_EQ(bits_of(actual), (half >> 15 << 31) | 0x7F800000u | payload) << "payload and sign are kept";
    } else {
      ASSERT_EQ(static_cast<double>(actual), expected) << half;
      ASSERT_EQ(std::signbit(actual), half >> 15 != 0) << half;
    }
  }
}

TEST(FloatConvert, all_65536_f16_values_are_exact) {
  expect_all_values([](uint16_t half) { return f16_to_f32(half); }, 5, 10);
}

TEST(FloatConvert, all_65536_bf16_values_are_exact) {
  expect_all_values([](uint16_t half) { return bf16_to_f32(half); }, 8, 7);
}

TEST(FloatConvert, landmarks) {
  EXPECT_EQ(f16_to_f32(0x3C00), 1.0f);
  EXPECT_EQ(f16_to_f32(0xC000), -2.0f);
  EXPECT_EQ(f16_to_f32(0x7BFF), 65504.0f);
  EXPECT_EQ(f16_to_f32(0x0400), 0x1p-14f) << "smallest normal";
  EXPECT_EQ(f16_to_f32(0x03FF), 0x1.ff8p-15f) << "largest denormal";
  EXPECT_EQ(f16_to_f32(0x0001), 0x1p-24f) << "smallest denormal";
  EXPECT_EQ(bits_of(f16_to_f32(0x8000)), 0x80000000u) << "minus zero";
  EXPECT_EQ(f16_to_f32(0xFC00), -std::numeric_limits<float>::infinity());
  EXPECT_EQ(bf16_to_f32(0x3F80), 1.0f);
  EXPECT_EQ(bf16_to_f32(0x0001), 0x1p-133f) << "denormal, also as f32";
}

}  // namespace
}  // namespace headscope
