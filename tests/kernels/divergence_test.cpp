// Divergences of every kernel and vector instruction set that this machine can run: against the double reference and
// against a dense computation of their own, in the cases that the forward pass is tested on.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "tests/kernels/conformance_cases.h"
#include "tests/kernels/divergence_case.h"
#include "tests/kernels/tested_kernels.h"
#include "tests/support/compare.h"

namespace headscope::testing {
namespace {

/// For the emulator of a GPU, which is slow: the last rows, and fewer keys where there are many heads.
void shorten(CaseSpec& spec) {
  const int64_t rows = std::min<int64_t>(spec.q_len, 150);
  const int64_t keys = std::min(spec.kv_len, std::max<int64_t>(130, 16000 / spec.q_heads));
  spec.offset += (spec.q_len - rows) - (spec.kv_len - keys);
  spec.q_len = rows;
  spec.kv_len = keys;
}

/// The cases of the forward pass; under the sanitizers without those that take longest here.
std::vector<CaseSpec> divergence_cases() {
  std::vector<CaseSpec> cases = conformance_cases();
  if (tested_kernels().front().device == "cuda") std::ranges::for_each(cases, shorten);
  const auto cost = [](const CaseSpec& s) { return s.q_heads * s.q_heads * s.q_len * s.kv_len; };
  if (sanitized()) std::erase_if(cases, [&](const CaseSpec& spec) { return cost(spec) > 2'000'000; });
  return cases;
}

/// One case. Its last `rows` rows alone are compared: each takes a logarithm for every key of every pair of heads.
class DivergenceConformance {
 public:
  explicit DivergenceConformance(const CaseSpec& spec, int64_t rows = std::numeric_limits<int64_t>::max())
      : case_(spec), rows_(rows) {}

  /// The reference, the dense and the naive results serve all three.
  void expect_holds() {
    expect_exact_matches();
    expect_hellinger_matches();
    expect_samples_are_those_of_the_reference();
  }

 private:
  void expect_exact_matches();
  void expect_hellinger_matches();
  void expect_samples_are_those_of_the_reference();

  const AttentionCase case_;
  const int64_t rows_;
  const ThreadPool pool_{3};
  const Results expected_forward_ = run_forward(reference_kernel(), case_, pool_);
  const DenseDivergences<double> dense_ = dense_divergences(case_.problem, request(DivergenceEstimator::exact));
  const DenseDivergences<float> naive_ = naive_divergences(case_, request(DivergenceEstimator::exact));

  DivergenceRequest request(DivergenceEstimator estimator) const {
    DivergenceRequest request = divergence_request(case_.problem, estimator);
    if (request.row_end - request.row_begin > rows_) request.row_begin = request.row_end - rows_;
    return request;
  }
  Divergences expected(const DivergenceRequest& request) const {
    return run_divergence(reference_kernel(), case_.problem, expected_forward_, request, pool_);
  }
  /// On a pool, after a check that a single worker gives the same bits.
  Divergences actual(const AttentionKernel& kernel, const DivergenceRequest& request) const {
    const Results forward = run_forward(kernel, case_, pool_);
    const Divergences three = run_divergence(kernel, case_.problem, forward, request, pool_);
    const Divergences one = run_divergence(kernel, case_.problem, forward, request, SerialFor());
    EXPECT_TRUE(same_bits(one.value, three.value) && same_bits(one.lower, three.lower) &&
                same_bits(one.upper, three.upper));
    return three;
  }

  void expect_bounds_hold(const Divergences& d) const {
    for (size_t i = 0; i < d.value.size(); ++i) {
      // The dense computation has errors of its own, far below an f32.
      ASSERT_TRUE(double{d.lower[i]} <= dense_.exact[i] + 1e-12 && dense_.exact[i] <= double{d.upper[i]} + 1e-12)
          << "[" << i << "]: " << dense_.exact[i] << " is outside [" << d.lower[i] << ", " << d.upper[i] << "]";
    }
  }
  template <class Real>
  static std::vector<Real> middles(const std::vector<Real>& h2) {
    std::vector<Real> values;
    for (const Real x : h2) values.push_back(static_cast<Real>(middle_of_bracket(double{x})));
    return values;
  }
};

void DivergenceConformance::expect_exact_matches() {
  const DivergenceRequest wanted = request(DivergenceEstimator::exact);
  const Divergences reference = expected(wanted);
  EXPECT_TRUE(all_near(reference.value, dense_.exact, 4e-7));
  expect_bounds_hold(reference);
  for (const AttentionKernel& kernel : fast_kernels()) {
    SCOPED_TRACE(kernel.name);
    const Divergences d = actual(kernel, wanted);
    EXPECT_TRUE(all_near(d.value, reference.value, kernel_tolerance(naive_.exact, reference.value)));
    expect_bounds_hold(d);
  }
}

void DivergenceConformance::expect_hellinger_matches() {
  const DivergenceRequest wanted = request(DivergenceEstimator::hellinger);
  const Divergences reference = expected(wanted);
  EXPECT_TRUE(all_near(reference.value, middles(dense_.h2), 4e-7));
  expect_bounds_hold(reference);
  for (const AttentionKernel& kernel : fast_kernels()) {
    SCOPED_TRACE(kernel.name);
    const Divergences d = actual(kernel, wanted);
    EXPECT_TRUE(all_near(d.value, reference.value, kernel_tolerance(middles(naive_.h2), reference.value)));
    expect_bounds_hold(d);
  }
}

/// All kernels draw the same keys but where rounding moves a draw across the border of two keys; that is rare, so it
/// may happen to the draws of one head in twenty.
void DivergenceConformance::expect_samples_are_those_of_the_reference() {
  DivergenceRequest wanted = request(DivergenceEstimator::sampled);
  wanted.samples = 200;
  const int64_t heads = case_.problem.q_heads, moved_heads = 1 + heads / 20;
  const double rounding = case_.spec.scores == Scores::large ? 2e-2 : 2e-5;
  const double moved = 2 * std::numbers::ln2 / static_cast<double>(2 * wanted.samples);  // two draws, at worst
  const Divergences reference = expected(wanted);
  for (const AttentionKernel& kernel : fast_kernels()) {
    SCOPED_TRACE(kernel.name);
    const Divergences d = actual(kernel, wanted);
    EXPECT_TRUE(all_near(d.value, reference.value, rounding + moved));
    int64_t off = 0;
    for (size_t i = 0; i < d.value.size(); ++i) off += difference(d.value[i], reference.value[i]) > rounding;
    EXPECT_LE(off, moved_heads * 2 * (heads - 1));
  }
}

class DivergenceCases : public ::testing::TestWithParam<CaseSpec> {};

TEST_P(DivergenceCases, Hold) { DivergenceConformance(GetParam()).expect_holds(); }

INSTANTIATE_TEST_SUITE_P(Kernels, DivergenceCases, ::testing::ValuesIn(divergence_cases()),
                         [](const auto& test) { return test.param.name; });

TEST(DivergenceCovering, EveryPairOfValuesHolds) {
  for (const CaseSpec& spec : covering_cases_in_time()) {
    SCOPED_TRACE(spec.name);
    DivergenceConformance(spec, 8).expect_holds();
    if (::testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace headscope::testing
