// The same call twice gives the same bits: every operation of every kernel, on memory that holds something else each
// time. Small cases, so that they also do where each memory access is checked (scripts/gpu_check.sh).
#include <gtest/gtest.h>

#include "tests/kernels/divergence_case.h"
#include "tests/kernels/kernel_test_name.h"
#include "tests/kernels/map_case.h"
#include "tests/support/compare.h"

namespace headscope::testing {
namespace {

class Determinism : public ::testing::TestWithParam<AttentionKernel> {
 protected:
  static CaseSpec many_rows(Element element) {
    CaseSpec spec = grouped_spec(150, 170);
    spec.key_dim = 40;
    spec.value_dim = 24;
    spec.element = element;
    return spec;
  }
  /// Few rows and many keys: kernels may cut the keys and join the parts.
  static CaseSpec few_rows(Element element) {
    CaseSpec spec = grouped_spec(2, 1300);
    spec.key_dim = spec.value_dim = 64;
    spec.element = element;
    spec.scores_kept = true;
    return spec;
  }

  void expect_same_forward(const CaseSpec& spec) const {
    const AttentionCase c(spec);
    if (kernel_.unsupported(c.problem)) GTEST_SKIP() << *kernel_.unsupported(c.problem);
    const Results first = run_forward(kernel_, c, pool_), again = run_forward(kernel_, c, pool_);
    for (const NamedArray& array : result_arrays()) {
      EXPECT_TRUE(same_bits(first.*array.array, again.*array.array)) << array.name;
    }
    EXPECT_TRUE(same_bits(first.argmax, again.argmax));
  }
  void expect_same_divergence(DivergenceEstimator estimator) const {
    const AttentionCase c(many_rows(Element::f32));
    const Results forward = run_forward(kernel_, c, pool_);
    const DivergenceRequest request = divergence_request(c.problem, estimator);
    const Divergences first = run_divergence(kernel_, c.problem, forward, request, pool_);
    const Divergences again = run_divergence(kernel_, c.problem, forward, request, pool_);
    EXPECT_TRUE(same_bits(first.value, again.value));
    EXPECT_TRUE(same_bits(first.lower, again.lower) && same_bits(first.upper, again.upper));
  }

  const AttentionKernel& kernel_ = GetParam();
  const ThreadPool pool_{2};
};

TEST_P(Determinism, ForwardOfManyRows) { expect_same_forward(many_rows(Element::f32)); }
TEST_P(Determinism, ForwardOfManyRowsInBf16) { expect_same_forward(many_rows(Element::bf16)); }
TEST_P(Determinism, ForwardOfFewRows) { expect_same_forward(few_rows(Element::f32)); }
TEST_P(Determinism, ForwardOfFewRowsInBf16) { expect_same_forward(few_rows(Element::bf16)); }

TEST_P(Determinism, ForwardWithRotatedKeys) {
  CaseSpec spec = many_rows(Element::bf16);
  spec.rotation.dims = 32;
  expect_same_forward(spec);
}

TEST_P(Determinism, ForwardWithMasksCapAndBiases) {
  CaseSpec spec = many_rows(Element::f32);
  spec.window = 50;
  spec.soft_cap = 20;
  spec.alibi = true;
  spec.log_weights = LogWeights::holes;
  expect_same_forward(spec);
}

TEST_P(Determinism, Tiles) {
  const AttentionCase c(many_rows(Element::f32));
  const Results forward = run_forward(kernel_, c, pool_);
  for (const Pooling pooling : {Pooling::max, Pooling::mean}) {
    for (const int64_t bin : {1, 7}) {
      const TileRequest request{0, 1, 10, 150, 3, 170, bin, pooling};
      EXPECT_TRUE(same_bits(run_tile(kernel_, c.problem, forward, request, pool_),
                            run_tile(kernel_, c.problem, forward, request, pool_)));
    }
  }
}

TEST_P(Determinism, MapStatistics) {
  const AttentionCase c(many_rows(Element::f32));
  const Results forward = run_forward(kernel_, c, pool_);
  const MapResults first = run_map_statistics(kernel_, c.problem, forward, {8, 22}, pool_);
  const MapResults again = run_map_statistics(kernel_, c.problem, forward, {8, 22}, pool_);
  for (const NamedMapArray& named : map_arrays()) {
    EXPECT_TRUE(same_bits(first.*named.array, again.*named.array)) << named.name;
  }
}

TEST_P(Determinism, ExactDivergence) { expect_same_divergence(DivergenceEstimator::exact); }
TEST_P(Determinism, HellingersBracket) { expect_same_divergence(DivergenceEstimator::hellinger); }
TEST_P(Determinism, SampledDivergence) { expect_same_divergence(DivergenceEstimator::sampled); }

INSTANTIATE_TEST_SUITE_P(Kernels, Determinism, ::testing::ValuesIn(f32_kernels()), kernel_test_name<AttentionKernel>);

}  // namespace
}  // namespace headscope::testing
