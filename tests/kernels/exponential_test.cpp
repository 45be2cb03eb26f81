// The exponentials of the kernels, read from weights, for every kernel.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>

#include "tests/kernels/kernel_test_name.h"
#include "tests/kernels/map_case.h"

namespace headscope::testing {
namespace {

class Exponential : public ::testing::TestWithParam<AttentionKernel> {};

/// Keys that are the scores of one row whose log-sum-exp is 0.
AttentionCase row_of_scores(int64_t n) {
  AttentionCase c({});
  c.problem.key_dim = c.problem.value_dim = 1;
  c.problem.scale = 1;
  c.q = {1};
  c.k.resize(static_cast<size_t>(n));
  c.problem.kv_len = n;
  c.problem.causal = false;
  c.problem.k = c.problem.v = {c.k.data(), n, n, 1};
  return c;
}

/// The largest error of exp in units of what is allowed.
double exp_error(const std::vector<float>& x, const std::vector<float>& weights, bool cuts, double allowed,
                 double allowed_per_nat) {
  double worst = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    if (x[i] < -87.0F) {
      EXPECT_TRUE(!cuts || weights[i] < 2e-38F) << x[i];
      continue;
    }
    const double error = std::abs(double{weights[i]} / std::exp(double{x[i]}) - 1);
    worst = std::max(worst, error / (allowed + allowed_per_nat * std::abs(double{x[i]})));
  }
  return worst;
}

/// Of such a row, a tile and the column masses are exp of the keys, by the two functions of vector_math-inl.h.
TEST_P(Exponential, ExpIsAccurate) {
  const bool cuts = GetParam().name != "reference";  // kernels in f32 count weights of about exp(-87) as 0
  const int64_t n = 200000;
  AttentionCase c = row_of_scores(n);
  for (size_t j = 0; j < c.k.size(); ++j) c.k[j] = -90.0F * static_cast<float>(j) / static_cast<float>(n);
  const Results zero = Results::sized(c.problem, 1);
  const std::vector<float> weights =
      run_tile(GetParam(), c.problem, zero, {0, 0, 0, 1, 0, n, 1, Pooling::max}, SerialFor());
  EXPECT_EQ(weights[0], 1);
  // Of CUDA, 2^x is an instruction within 2^-22, and x times log2 e is rounded.
  const bool cuda = GetParam().device == "cuda";
  EXPECT_LE(exp_error(c.k, weights, cuts, cuda ? 3e-7 : 1.3e-7, cuda ? 7e-8 : 0), 1);
  const std::vector<float> mass = run_map_statistics(GetParam(), c.problem, zero, {}, SerialFor()).mass;
  const bool fused = GetParam().name != "cpu/SSE4" && !cuda;  // products without FMA are rounded once more
  EXPECT_EQ(mass[0], 1);
  EXPECT_LE(exp_error(c.k, mass, cuts, cuda ? 3e-7 : fused ? 1.7e-7 : 2e-7, fused ? 1.4e-8 : 7e-8), 1);
}

/// All floats of three octaves, where Horner's form falls by an ulp now and then; every 16th on the emulator, which has
/// the host's function and takes 6 microseconds a key. Tiles take the exponential of a maximum for the maximum of
/// exponentials.
TEST_P(Exponential, ExpNeverFalls) {
  if (GetParam().name == "reference") return;  // takes the maximum of exponentials
  const int64_t n = 1 << 20;
  AttentionCase c = row_of_scores(n);
  const Results zero = Results::sized(c.problem, 1);
  const uint32_t apart = GetParam().name == "cuda/emulated" ? 16 : 1;
  float below = 1;
  for (float x = -0.015625F; x > -0.125F;) {
    for (float& key : c.k) {
      key = x;
      x = std::bit_cast<float>(std::bit_cast<uint32_t>(x) + apart);  // below it, as its sign is set
    }
    for (const float weight : run_tile(GetParam(), c.problem, zero, {0, 0, 0, 1, 0, n, 1, Pooling::max}, SerialFor())) {
      ASSERT_LE(weight, below);
      below = weight;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, Exponential, ::testing::ValuesIn(f32_kernels()), kernel_test_name<AttentionKernel>);

}  // namespace
}  // namespace headscope::testing
