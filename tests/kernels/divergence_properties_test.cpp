// Divergences whose answer is known, and what every kernel promises of them, the reference included.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numbers>

#include "tests/kernels/divergence_case.h"
#include "tests/kernels/kernel_test_name.h"
#include "tests/support/compare.h"

namespace headscope::testing {
namespace {

using std::numbers::ln2;
using enum DivergenceEstimator;

constexpr float nan = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();

CaseSpec spec_of(int64_t q_heads, int64_t kv_heads, int64_t length) {
  CaseSpec spec;
  spec.q_heads = q_heads;
  spec.kv_heads = kv_heads;
  spec.q_len = spec.kv_len = length;
  spec.key_dim = spec.value_dim = 24;
  return spec;
}

/// One key head whose keys are unit vectors, all queries 0: each head attends uniformly until it is told otherwise.
AttentionCase unit_keys(int64_t q_heads, int64_t length) {
  CaseSpec spec = spec_of(q_heads, 1, length);
  spec.key_dim = length;
  AttentionCase c(spec);
  std::fill(c.q.begin(), c.q.end(), 0.0F);
  std::fill(c.k.begin(), c.k.end(), 0.0F);
  for (int64_t i = 0; i < length; ++i) c.key(0, 0, i)[i] = 1;
  c.problem.scale = 200;
  return c;
}

float* query(AttentionCase& c, int64_t head, int64_t row) { return const_cast<float*>(c.problem.q.row(0, head, row)); }

class DivergenceProperties : public ::testing::TestWithParam<AttentionKernel> {
 protected:
  Divergences run(const AttentionCase& c, const DivergenceRequest& request) const {
    return run_divergence(GetParam(), c, request, pool_);
  }
  Divergences run(const AttentionCase& c, DivergenceEstimator estimator) const {
    return run(c, divergence_request(c.problem, estimator));
  }
  const ThreadPool pool_{2};
};

TEST_P(DivergenceProperties, EqualHeadsAreNotApart) {
  AttentionCase c(spec_of(6, 1, 300));
  for (int64_t head = 1; head < 6; ++head) {
    for (int64_t i = 0; i < 300; ++i) std::copy_n(query(c, 0, i), 24, query(c, head, i));
  }
  const std::vector<float> zeros(36, 0.0F);
  for (const auto estimator : {exact, hellinger, sampled}) EXPECT_EQ(run(c, estimator).value, zeros);
  EXPECT_LT(run(c, hellinger).upper[1], 1e-7F);  // a bound of second order: no 1 - sum sqrt(p q), which has 1e-7 alone
}

TEST_P(DivergenceProperties, OneHotHeadsOnOtherKeysAreLn2Apart) {
  AttentionCase c = unit_keys(3, 4);
  c.problem.causal = false;
  for (int64_t head = 0; head < 3; ++head) {
    for (int64_t i = 0; i < 4; ++i) query(c, head, i)[head] = 1;
  }
  for (const auto estimator : {exact, hellinger, sampled}) {
    const Divergences d = run(c, estimator);
    EXPECT_TRUE(difference(d.value[1], ln2) <= 1e-7 && difference(d.value[5], ln2) <= 1e-7);
    EXPECT_TRUE(difference(d.upper[1], ln2) <= 1e-7);
    EXPECT_GT(d.lower[1], ln2 - (estimator == sampled ? 0.04 : 0.02));
  }
}

TEST_P(DivergenceProperties, UniformAgainstOneHot) {
  const std::pair<int64_t, double> closed[] = {{2, 0.215762}, {4, 0.380396}, {64, 0.652783}};
  for (const auto& [keys, expected] : closed) {
    AttentionCase c = unit_keys(2, keys);
    c.problem.causal = false;
    for (int64_t i = 0; i < keys; ++i) query(c, 1, i)[i] = 1;
    EXPECT_TRUE(difference(run(c, exact).value[1], expected) <= 1e-6) << keys;
    const double h2 = 1 - std::sqrt(1 / static_cast<double>(keys));
    EXPECT_TRUE(difference(run(c, hellinger).value[1], middle_of_bracket(h2)) <= 1e-6) << keys;
  }
}

/// Heads that attend to themselves, the token before, the first, all.
TEST_P(DivergenceProperties, SelfPreviousFirstAndUniformHeads) {
  AttentionCase c = unit_keys(4, 4);
  for (int64_t i = 0; i < 4; ++i) {
    query(c, 0, i)[i] = 1;
    query(c, 1, i)[std::max<int64_t>(i - 1, 0)] = 1;
    query(c, 2, i)[0] = 1;
  }
  const double third = 2 * ln2 / 3, uniform = 0.304805;
  const std::vector<double> expected = {0,   ln2,   ln2, uniform, ln2,     0,       third,   uniform,
                                        ln2, third, 0,   uniform, uniform, uniform, uniform, 0};
  EXPECT_TRUE(all_near(run(c, exact).value, expected, 1e-6));
}

TEST_P(DivergenceProperties, NearlyEqualHeadsStayInsideTheirBounds) {
  for (const float apart : {1e-1F, 1e-2F, 1e-3F, 1e-4F, 1e-5F, 1e-6F}) {
    AttentionCase c(spec_of(4, 1, 200));
    for (int64_t head = 1; head < 4; ++head) {
      for (int64_t i = 0; i < 200; ++i) {
        for (int64_t d = 0; d < 24; ++d) {
          query(c, head, i)[d] =
              query(c, 0, i)[d] * (1 + apart * static_cast<float>((d * 7 + head * 5 + i) % 11 - 5) / 5);
        }
      }
    }
    const DenseDivergences<double> dense = dense_divergences(c.problem, divergence_request(c.problem, exact));
    for (const auto estimator : {exact, hellinger}) {
      const Divergences d = run(c, estimator);
      for (size_t i = 0; i < 16; ++i) {
        EXPECT_TRUE(double{d.lower[i]} <= dense.exact[i] && dense.exact[i] <= double{d.upper[i]})
            << apart << ": " << dense.exact[i] << " is outside [" << d.lower[i] << ", " << d.upper[i] << "]";
      }
      // Neither are the bounds too far to say anything.
      const double spread = double{d.upper[1]} - double{d.lower[1]}, factor = estimator == exact ? 1e-3 : 0.5;
      EXPECT_LT(spread, 1e-4 + factor * dense.exact[1]) << apart;
    }
  }
}

/// Weights are nearly exact then, but of entropies of 4 nats only rounding is left.
TEST_P(DivergenceProperties, FlatHeadsStayInsideTheirBounds) {
  for (const float scale : {1e-2F, 1e-3F, 1e-4F, 1e-5F}) {
    AttentionCase c(spec_of(4, 4, 100));
    c.problem.scale = scale;
    const DenseDivergences<double> dense = dense_divergences(c.problem, divergence_request(c.problem, exact));
    const Divergences d = run(c, exact);
    for (size_t i = 0; i < 16; ++i) {
      EXPECT_TRUE(double{d.lower[i]} <= dense.exact[i] && dense.exact[i] <= double{d.upper[i]})
          << scale << ": " << dense.exact[i] << " is outside [" << d.lower[i] << ", " << d.upper[i] << "]";
    }
  }
}

TEST_P(DivergenceProperties, PermutedHeadsGivePermutedResults) {
  const int64_t order[] = {4, 2, 0, 5, 3, 1};
  CaseSpec spec = spec_of(6, 6, 270);
  spec.alibi = true;
  spec.log_weights = LogWeights::holes;
  const AttentionCase c(spec);
  AttentionCase permuted(spec);
  for (int64_t head = 0; head < 6; ++head) {
    for (int64_t i = 0; i < 270; ++i) {
      std::copy_n(c.problem.q.row(0, order[head], i), 24, query(permuted, head, i));
      std::copy_n(c.problem.k.row(0, order[head], i), 24, permuted.key(0, head, i));
    }
    std::copy_n(c.log_weight.data() + order[head] * 270, 270, permuted.log_weight.data() + head * 270);
    permuted.slopes[static_cast<size_t>(head)] = c.slopes[static_cast<size_t>(order[head])];
  }
  for (const auto estimator : {exact, hellinger}) {
    const Divergences expected = run(c, estimator), actual = run(permuted, estimator);
    for (size_t i = 0; i < 6; ++i) {
      for (size_t j = 0; j < 6; ++j) {
        const auto from = static_cast<size_t>(order[i] * 6 + order[j]), at = i * 6 + j;
        EXPECT_EQ(actual.value[at], expected.value[from]);
        EXPECT_EQ(actual.lower[at], expected.lower[from]);
        EXPECT_EQ(actual.upper[at], expected.upper[from]);
      }
    }
  }
}

TEST_P(DivergenceProperties, ARangeIsTheMeanOfItsParts) {
  const AttentionCase c(spec_of(3, 3, 400));
  DivergenceRequest first = divergence_request(c.problem, exact), second = first;
  first.row_end = second.row_begin = 130;
  const std::vector<float> whole = run(c, exact).value, a = run(c, first).value, b = run(c, second).value;
  std::vector<double> mean;
  for (size_t i = 0; i < whole.size(); ++i) mean.push_back((double{a[i]} * 129 + double{b[i]} * 270) / 399);
  EXPECT_TRUE(all_near(whole, mean, 2e-7));
}

TEST_P(DivergenceProperties, AnEmptyRowHasItsWeightOnAKeyOfItsOwn) {
  AttentionCase c(spec_of(5, 5, 40));
  c.log_weight.assign(5 * 40, 0.0F);
  for (const int64_t head : {1, 3}) std::fill_n(c.log_weight.begin() + head * 40, 40, -infinity);
  c.problem.key_log_weight = c.log_weight.data();
  for (const auto estimator : {exact, hellinger, sampled}) {
    const Divergences d = run(c, estimator);
    for (const size_t at : {0 * 5 + 1, 1 * 5 + 2, 3 * 5 + 4}) EXPECT_TRUE(difference(d.value[at], ln2) <= 1e-7);
    EXPECT_EQ(d.value[1 * 5 + 3], 0);
    EXPECT_LT(d.value[0 * 5 + 2], 0.69F);
  }
}

TEST_P(DivergenceProperties, NaNStaysWithItsHead) {
  const AttentionCase clean(spec_of(4, 2, 100));
  for (const auto estimator : {exact, hellinger, sampled}) {
    const Divergences expected = run(clean, estimator);
    AttentionCase c(spec_of(4, 2, 100));
    query(c, 0, 0)[3] = nan;  // not in the range
    EXPECT_EQ(run(c, estimator).value, expected.value);
    query(c, 2, 70)[3] = nan;
    const Divergences d = run(c, estimator);
    for (size_t i = 0; i < 4; ++i) {
      for (size_t j = 0; j < 4; ++j) {
        if (i == 2 || j == 2) {
          EXPECT_TRUE(std::isnan(d.value[i * 4 + j]) && std::isnan(d.lower[i * 4 + j]));
        } else {
          EXPECT_EQ(d.value[i * 4 + j], expected.value[i * 4 + j]);
          EXPECT_EQ(d.upper[i * 4 + j], expected.upper[i * 4 + j]);
        }
      }
    }
  }
}

TEST_P(DivergenceProperties, KeysThatNoRowSeesMayBeGone) {
  CaseSpec spec = spec_of(4, 2, 600);
  spec.q_len = 50;
  spec.offset = 550;
  spec.window = 100;
  const AttentionCase full(spec);
  const Results forward = run_forward(GetParam(), full, pool_);
  AttentionProblem cut = full.problem;
  cut.first_key = 451;
  cut.k = cut.k.from(451);
  for (const auto estimator : {exact, hellinger, sampled}) {
    const DivergenceRequest request = divergence_request(cut, estimator);
    const Divergences expected = run_divergence(GetParam(), full.problem, forward, request, pool_);
    const Divergences actual = run_divergence(GetParam(), cut, forward, request, pool_);
    EXPECT_TRUE(same_bits(actual.value, expected.value) && same_bits(actual.upper, expected.upper));
  }
}

TEST_P(DivergenceProperties, AStopWritesNothing) {
  const AttentionCase c(spec_of(4, 2, 500));
  const Results forward = run_forward(GetParam(), c, pool_);
  for (const auto estimator : {exact, hellinger, sampled}) {
    DivergenceRequest request = divergence_request(c.problem, estimator);
    request.samples = 200;
    for (const int64_t stopping_task : {0, 1, 3}) {
      Guarded<float> value(16), lower(16), upper(16);
      Guarded<std::byte> workspace(GetParam().divergence_workspace(c.problem, request, 1));
      std::stop_source source;
      EXPECT_FALSE(GetParam().divergence(c.problem, forward.row_max.data(), forward.log_sum.data(), request,
                                         {value.data(), lower.data(), upper.data()}, workspace.span(),
                                         StopAtTask(source, stopping_task), source.get_token()));
      EXPECT_TRUE(value.untouched(0, 16) && lower.untouched(0, 16) && upper.untouched(0, 16));
    }
  }
}

TEST_P(DivergenceProperties, RequestsOutsideTheProblemThrow) {
  const AttentionCase c(spec_of(2, 2, 10));
  const auto expect_throw = [&](auto change) {
    DivergenceRequest request = divergence_request(c.problem, sampled);
    change(request);
    EXPECT_THROW(run(c, request), std::invalid_argument);
  };
  expect_throw([](DivergenceRequest& r) { r.batch = 1; });
  expect_throw([](DivergenceRequest& r) { r.row_end = 11; });
  expect_throw([](DivergenceRequest& r) { r.row_begin = -1; });
  expect_throw([](DivergenceRequest& r) { r.row_begin = r.row_end; });
  expect_throw([](DivergenceRequest& r) { r.samples = 0; });
  expect_throw([](DivergenceRequest& r) { r.confidence = 1; });
  expect_throw([](DivergenceRequest& r) { r.confidence = 0; });
}

INSTANTIATE_TEST_SUITE_P(Kernels, DivergenceProperties, ::testing::ValuesIn(f32_kernels()),
                         kernel_test_name<AttentionKernel>);

}  // namespace
}  // namespace headscope::testing
