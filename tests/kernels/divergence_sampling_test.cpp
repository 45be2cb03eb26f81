// The sampled divergence as a random number, and the estimates that all kernels share.
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "kernels/divergence_estimate.h"
#include "tests/kernels/divergence_case.h"
#include "tests/kernels/kernel_test_name.h"
#include "tests/support/compare.h"

namespace headscope::testing {
namespace {

using std::numbers::ln2;
using enum DivergenceEstimator;

CaseSpec spec_of(int64_t length) {
  CaseSpec spec;
  spec.q_heads = 4;
  spec.kv_heads = 2;
  spec.q_len = spec.kv_len = length;
  return spec;
}

class DivergenceSampling : public ::testing::TestWithParam<AttentionKernel> {
 protected:
  const AttentionCase case_{spec_of(90)};
  const Results forward_ = run_forward(GetParam(), case_, SerialFor());

  Divergences run(const Results& forward, int64_t samples, uint64_t seed) const {
    DivergenceRequest request = divergence_request(case_.problem, sampled);
    request.samples = samples;
    request.seed = seed;
    return run_divergence(GetParam(), case_.problem, forward, request, SerialFor());
  }
  Divergences exact_ones() const {
    return run_divergence(GetParam(), case_.problem, forward_, divergence_request(case_.problem, exact), SerialFor());
  }
};

TEST_P(DivergenceSampling, BoundsHoldAndErrorsAreFarBelowThem) {
  const Divergences truth = exact_ones();
  const int seeds = GetParam().device == "cuda" ? 60 : 200;  // emulated: slow
  int failed = 0;
  double squares = 0, sum = 0, half_width = 0;
  for (int seed = 0; seed < seeds; ++seed) {
    const Divergences d = run(forward_, 200, static_cast<uint64_t>(seed));
    bool holds = true;
    for (const size_t at : {1, 2, 3, 6, 7, 11}) {
      holds = holds && d.lower[at] <= truth.value[at] && truth.value[at] <= d.upper[at];
      const double error = double{d.value[at]} - double{truth.value[at]};
      squares += error * error / (6 * seeds);
      sum += error / (6 * seeds);
    }
    failed += !holds;
    half_width = double{d.value[1]} - double{d.lower[1]};
  }
  EXPECT_LE(failed, seeds / 20) << "at a confidence of 0.95";
  EXPECT_LT(half_width, 0.06);
  EXPECT_LT(std::sqrt(squares), half_width / 3);
  EXPECT_GT(std::sqrt(squares), half_width / 50);
  EXPECT_LT(std::abs(sum), 4 * std::sqrt(squares / seeds)) << "biased";
}

TEST_P(DivergenceSampling, MoreSamplesComeCloser) {
  const Divergences truth = exact_ones();
  EXPECT_TRUE(all_near(run(forward_, 10000, 5).value, truth.value, 6e-3));
}

TEST_P(DivergenceSampling, TheSeedDecides) {
  const Divergences first = run(forward_, 300, 1), again = run(forward_, 300, 1), other = run(forward_, 300, 2);
  EXPECT_TRUE(same_bits(first.value, again.value));
  EXPECT_NE(first.value, other.value);
}

/// A log-sum-exp that is too large leaves half of the targets beyond the weights; they are sought again.
TEST_P(DivergenceSampling, TargetsBeyondTheWeightsFindTheirKeys) {
  Results halved = forward_;
  for (float& log_sum : halved.log_sum) log_sum += static_cast<float>(ln2);
  const Divergences truth = exact_ones(), d = run(halved, 10000, 3);
  EXPECT_TRUE(all_near(d.value, truth.value, 6e-3));
}

TEST_P(DivergenceSampling, LongInputsNeedLittleMemory) {
  AttentionProblem p = case_.problem;
  p.q_heads = p.kv_heads = 32;
  p.q_len = p.kv_len = 1 << 20;
  for (const auto estimator : {exact, hellinger, sampled}) {
    if (GetParam().name == "reference") continue;  // rows of doubles
    EXPECT_LT(GetParam().divergence_workspace(p, divergence_request(p, estimator), 2), size_t{8} << 20);
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, DivergenceSampling, ::testing::ValuesIn(f32_kernels()),
                         kernel_test_name<AttentionKernel>);

// --- kernels/divergence_estimate.h ----------------------------------------------------------------------------

/// The bracket holds key by key: for all shares of two weights it is enough to try p = 1.
TEST(DivergenceEstimate, HellingerBracketsEveryTerm) {
  for (int i = 0; i <= 100000; ++i) {
    const double q = i == 0 ? 0 : std::pow(10.0, -12.0 * (1 - i / 1e5));
    const double jsd = (1 + q) / 2 * divergence_term(1, q), h2 = std::pow(1 - std::sqrt(q), 2) / 2;
    ASSERT_TRUE(ln2 * h2 <= jsd + 1e-15 && jsd <= h2 + 1e-15) << q;
  }
}

TEST(DivergenceEstimate, HoeffdingsHalfWidth) {
  DivergenceRequest request;
  request.samples = 4096;
  EXPECT_TRUE(difference(sampling_half_width(request, 32), 0.01703) <= 1e-5);  // sqrt(ln(2 * 496 / 0.05) / 16384) ln 2
}

TEST(DivergenceEstimate, DrawsSpreadOverTheRows) {
  DivergenceRequest request;
  request.row_begin = 7;
  request.row_end = 17;
  request.samples = 1000;
  double mean = 0;
  for (int64_t n = 0; n < 1000; ++n) {
    const DivergenceDraw draw = divergence_draw(request, 3, n);
    EXPECT_EQ(draw.row, 7 + n / 100);
    EXPECT_TRUE(draw.target >= 0 && draw.target < 1);
    mean += draw.target / 1000;
  }
  EXPECT_TRUE(difference(mean, 0.5) <= 0.04);
  EXPECT_NE(divergence_draw(request, 3, 0).target, divergence_draw(request, 2, 0).target);
}

TEST(DivergenceEstimate, ErrorsWidenTheBoundsAndStayWithinTheRange) {
  const DivergenceEstimate e = exact_divergence(0.25, 1e-3 * std::numbers::sqrt2, 0);
  EXPECT_TRUE(difference(e.value, 0.25) <= 0 && difference(e.lower, 0.249001) <= 1e-12 &&
              difference(e.upper, 0.251001) <= 1e-12);
  const DivergenceEstimate h = hellinger_divergence(0.25, 1e-3 * std::numbers::sqrt2, 0);
  EXPECT_TRUE(difference(h.lower, ln2 * 0.249001) <= 1e-12 && difference(h.upper, 0.251001) <= 1e-12);
  const DivergenceEstimate all = sampled_divergence(0.5, 0, 10);
  EXPECT_TRUE(all.lower == 0 && all.upper == ln2);
  EXPECT_TRUE(std::isnan(exact_divergence(0.5, std::nan(""), 0).lower));
  EXPECT_EQ(exact_divergence(0.5, std::numeric_limits<double>::infinity(), 0).lower, 0);
}

}  // namespace
}  // namespace headscope::testing
