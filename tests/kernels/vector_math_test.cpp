// The errors that kernels/cpu/vector_math-inl.h states, over all f32 numbers, on every vector target of this machine.
#include "hwy/detect_compiler_arch.h"

#if HWY_ARCH_X86

// Highway compiles this file once for each vector target by including it again.
#define HWY_BASELINE_TARGETS HWY_SSE4
#define HWY_DISABLED_TARGETS HWY_SSSE3
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tests/kernels/vector_math_test.cpp"
#include "hwy/foreach_target.h"

#include "hwy/highway.h"
#include "kernels/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::testing::HWY_NAMESPACE {

namespace vectors = cpu::HWY_NAMESPACE;
namespace hn = hwy::HWY_NAMESPACE;

/// f of the `count` numbers at `in`, a multiple of 16.
template <class Function>
HWY_INLINE void map(const float* in, float* out, size_t count, const Function& f) {
  const vectors::F d;
  for (size_t i = 0; i < count; i += vectors::lanes) hn::StoreU(f(hn::LoadU(d, in + i)), d, out + i);
}

inline void exp_negative(const float* in, float* out, size_t count) {
  map(in, out, count, [](vectors::V x) HWY_ATTR { return vectors::exp_negative(x); });
}
inline void exp_rising(const float* in, float* out, size_t count) {
  map(in, out, count, [](vectors::V x) HWY_ATTR { return vectors::exp_rising(x); });
}
inline void log2_positive(const float* in, float* out, size_t count) {
  map(in, out, count, [](vectors::V x) HWY_ATTR { return vectors::log2_positive(x); });
}
inline void tanh_any(const float* in, float* out, size_t count) {
  map(in, out, count, [](vectors::V x) HWY_ATTR { return vectors::tanh_any(x); });
}

}  // namespace headscope::testing::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "tests/kernels/attention_case.h"

namespace headscope::testing {
namespace {

using Map = void (*)(const float* in, float* out, size_t count);

struct Target {
  std::string name;
  Map exp_negative, exp_rising, log2_positive, tanh_any;
  double exp_slope;  ///< what exp_negative may be off by for each unit of |x|
};

std::vector<Target> targets() {
  const int64_t supported = hwy::SupportedTargets();
  std::vector<Target> list;
  if (supported & HWY_SSE4) {
    list.push_back({"SSE4", N_SSE4::exp_negative, N_SSE4::exp_rising, N_SSE4::log2_positive, N_SSE4::tanh_any, 7e-8});
  }
  if (supported & HWY_AVX2) {
    list.push_back({"AVX2", N_AVX2::exp_negative, N_AVX2::exp_rising, N_AVX2::log2_positive, N_AVX2::tanh_any, 1.4e-8});
  }
  if (supported & HWY_AVX3) {
    list.push_back({"AVX3", N_AVX3::exp_negative, N_AVX3::exp_rising, N_AVX3::log2_positive, N_AVX3::tanh_any, 1.4e-8});
  }
  return list;
}

/// Numbers whose bits are `step` apart from `first` to `last`, both included, filled up to a multiple of 16.
std::vector<float> numbers(float first, float last, uint32_t step) {
  std::vector<float> list;
  const auto end = std::bit_cast<uint32_t>(last);
  for (auto bits = std::bit_cast<uint32_t>(first); bits < end; bits += step) list.push_back(std::bit_cast<float>(bits));
  do list.push_back(last);
  while (list.size() % 16 != 0);
  return list;
}

std::vector<float> mapped(Map map, const std::vector<float>& in) {
  std::vector<float> out(in.size());
  map(in.data(), out.data(), in.size());
  return out;
}

/// Largest relative error of `map` on every target, as a multiple of `bound`, with the place.
void expect_relative_error(Map Target::*map, double (*expected)(double), const std::vector<float>& in, double bound) {
  std::vector<double> exact(in.size());
  for (size_t i = 0; i < in.size(); ++i) exact[i] = expected(double{in[i]});
  for (const Target& target : targets()) {
    const std::vector<float> out = mapped(target.*map, in);
    double worst = 0, place = 0;
    for (size_t i = 0; i < in.size(); ++i) {
      const double error = double{out[i]} == exact[i] ? 0 : std::abs(double{out[i]} / exact[i] - 1);
      if (!(error <= worst)) worst = error, place = double{in[i]};
    }
    EXPECT_TRUE(worst <= bound) << target.name << ": " << worst << " at " << place;
  }
}

constexpr uint32_t step = sanitized() ? 5003 : 211;  ///< of 2^23 numbers in an octave
constexpr float smallest_normal = std::numeric_limits<float>::min();

double exact_exp(double x) { return std::exp(x); }
double exact_log2(double x) { return std::log2(x); }
double exact_tanh(double x) { return std::tanh(x); }

TEST(VectorMath, ExpOfAllNegativeNumbers) {
  const std::vector<float> in = numbers(-0.0F, -87.0F, step);
  for (const Target& target : targets()) {
    const std::vector<float> out = mapped(target.exp_negative, in);
    for (size_t i = 0; i < in.size(); ++i) {
      const double x = double{in[i]}, error = std::abs(double{out[i]} / std::exp(x) - 1);
      ASSERT_TRUE(error <= (target.exp_slope > 2e-8 ? 2e-7 : 1.7e-7) - target.exp_slope * x)
          << target.name << ": " << error << " at " << x;
    }
  }
}

TEST(VectorMath, RisingExpOfAllNegativeNumbers) {
  expect_relative_error(&Target::exp_rising, exact_exp, numbers(-0.0F, -87.0F, step), 1.3e-7);
}

TEST(VectorMath, TanhOfAllNumbers) {
  expect_relative_error(&Target::tanh_any, exact_tanh, numbers(smallest_normal, 1e30F, step), 3e-7);
}

TEST(VectorMath, Log2OfAllNormalNumbers) {
  expect_relative_error(&Target::log2_positive, exact_log2,
                        numbers(smallest_normal, std::numeric_limits<float>::max(), step), 2e-7);
}

TEST(VectorMath, Log2OfAllNumbersFromOneHalfToTwo) {
  expect_relative_error(&Target::log2_positive, exact_log2, numbers(0.5F, 2.0F, sanitized() ? 29 : 1), 2e-7);
}

TEST(VectorMath, Log2OfPowersOfTwoIsExact) {
  std::vector<float> in, exact;
  for (int e = -126; e < 114; ++e) in.push_back(std::ldexp(1.0F, e)), exact.push_back(static_cast<float>(e));
  for (const Target& target : targets()) EXPECT_EQ(mapped(target.log2_positive, in), exact) << target.name;
}

TEST(VectorMath, XLog2XOfZeroAndSubnormalNumbers) {
  const std::vector<float> in = numbers(0.0F, smallest_normal, 97);
  for (const Target& target : targets()) {
    const std::vector<float> out = mapped(target.log2_positive, in);
    EXPECT_EQ(in[0] * out[0], 0);
    for (size_t i = 1; i < in.size(); ++i) {
      const double x = double{in[i]}, error = std::abs(x * double{out[i]} - x * std::log2(x));
      ASSERT_TRUE(error <= 4e-39) << target.name << " at " << in[i] << ": " << error;
    }
  }
}

}  // namespace
}  // namespace headscope::testing
#endif
#endif
