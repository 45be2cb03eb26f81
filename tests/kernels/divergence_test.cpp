// Divergences of every kernel and vector instruction set that this machine can run: against the double reference and
// against a dense computation of their own, in the cases that the forward pass is tested on.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/kernels/conformance_cases.h"
#include "tests/kernels/divergence_case.h"
#include "tests/support/compare.h"

namespace headscope::testing {
namespace {

class DivergenceConformance : public ::testing::TestWithParam<CaseSpec> {
 protected:
  const AttentionCase case_{GetParam()};
  const ThreadPool pool_{3};
  const DivergenceRequest request_ = divergence_request(case_.problem, DivergenceEstimator::exact);
  const DenseDivergences<double> dense_ = dense_divergences(case_.problem, request_);
  const DenseDivergences<float> naive_ = naive_divergences(case_, request_);

  DivergenceRequest request(DivergenceEstimator estimator) const {
    return divergence_request(case_.problem, estimator);
  }

  void expect_bounds_hold(const Divergences& d) const {
    for (size_t i = 0; i < d.value.size(); ++i) {
      // The dense computation has errors of its own, far below an f32.
      ASSERT_TRUE(double{d.lower[i]} <= dense_.exact[i] + 1e-12 && dense_.exact[i] <= double{d.upper[i]} + 1e-12)
          << "[" << i << "]: " << dense_.exact[i] << " is outside [" << d.lower[i] << ", " << d.upper[i] << "]";
    }
  }

  static std::vector<float> middles(const std::vector<float>& h2) {
    std::vector<float> values;
    for (const float x : h2) values.push_back(static_cast<float>(middle_of_bracket(double{x})));
    return values;
  }
};

TEST_P(DivergenceConformance, ExactMatches) {
  const Divergences expected = run_divergence(reference_kernel(), case_, request_, pool_);
  EXPECT_TRUE(all_near(expected.value, dense_.exact, 4e-7));
  expect_bounds_hold(expected);
  for (const AttentionKernel& kernel : fast_kernels()) {
    SCOPED_TRACE(kernel.name);
    const Divergences actual = run_divergence(kernel, case_, request_, pool_);
    EXPECT_TRUE(all_near(actual.value, expected.value, kernel_tolerance(naive_.exact, expected.value)));
    expect_bounds_hold(actual);
    const Divergences serial = run_divergence(kernel, case_, request_, SerialFor());
    EXPECT_TRUE(same_bits(serial.value, actual.value) && same_bits(serial.upper, actual.upper));
  }
}

TEST_P(DivergenceConformance, HellingerMatches) {
  const DivergenceRequest wanted = request(DivergenceEstimator::hellinger);
  std::vector<double> middle;
  for (const double h2 : dense_.h2) middle.push_back(middle_of_bracket(h2));
  const Divergences expected = run_divergence(reference_kernel(), case_, wanted, pool_);
  EXPECT_TRUE(all_near(expected.value, middle, 4e-7));
  expect_bounds_hold(expected);
  for (const AttentionKernel& kernel : fast_kernels()) {
    SCOPED_TRACE(kernel.name);
    const Divergences actual = run_divergence(kernel, case_, wanted, pool_);
    EXPECT_TRUE(all_near(actual.value, expected.value, kernel_tolerance(middles(naive_.h2), expected.value)));
    expect_bounds_hold(actual);
    const Divergences serial = run_divergence(kernel, case_, wanted, SerialFor());
    EXPECT_TRUE(same_bits(serial.value, actual.value) && same_bits(serial.upper, actual.upper));
  }
}

/// All kernels draw the same keys but for those that rounding moves across a border, one in a million.
TEST_P(DivergenceConformance, SamplesAreThoseOfTheReference) {
  DivergenceRequest wanted = request(DivergenceEstimator::sampled);
  wanted.samples = 200;
  const Divergences expected = run_divergence(reference_kernel(), case_, wanted, pool_);
  const double rounding = GetParam().scores == Scores::large ? 2e-2 : 2e-5;
  for (const AttentionKernel& kernel : fast_kernels()) {
    SCOPED_TRACE(kernel.name);
    const Divergences actual = run_divergence(kernel, case_, wanted, pool_);
    EXPECT_TRUE(all_near(actual.value, expected.value, rounding));
    const Divergences serial = run_divergence(kernel, case_, wanted, SerialFor());
    EXPECT_TRUE(same_bits(serial.value, actual.value) && same_bits(serial.upper, actual.upper));
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, DivergenceConformance, ::testing::ValuesIn(conformance_cases()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace headscope::testing
