// Cases whose answer is known without running anything, for every kernel, the reference included.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/kernels/attention_case.h"
#include "tests/kernels/kernel_test_name.h"
#include "tests/support/compare.h"

namespace headscope::testing {
namespace {

/// A small problem whose inputs the test writes itself; all zero at first.
AttentionCase zero_case(int64_t q_heads, int64_t kv_heads, int64_t length, int64_t dim) {
  CaseSpec spec;
  spec.q_heads = q_heads;
  spec.kv_heads = kv_heads;
  spec.q_len = spec.kv_len = length;
  spec.key_dim = spec.value_dim = dim;
  AttentionCase c(spec);
  std::fill(c.q.begin(), c.q.end(), 0.0F);
  std::fill(c.k.begin(), c.k.end(), 0.0F);
  std::fill(c.v.begin(), c.v.end(), 0.0F);
  c.problem.scale = 1;
  return c;
}

class HandValues : public ::testing::TestWithParam<AttentionKernel> {
 protected:
  Results run(const AttentionCase& c) const { return run_forward(GetParam(), c, SerialFor()); }
};

double mean(const std::vector<float>& values, size_t begin, size_t end) {
  double sum = 0;
  for (size_t i = begin; i < end; ++i) sum += double{values[i]};
  return sum / static_cast<double>(end - begin);
}

TEST_P(HandValues, UniformAttention) {
  for (const int64_t n : {4, 64, 1024}) {
    AttentionCase c = zero_case(1, 1, n, 4);
    c.spec.window_tokens = 3;
    for (int64_t j = 0; j < n; ++j) c.value(0, 0, j)[0] = static_cast<float>(j);
    const Results r = run(c);
    for (int64_t i = 0; i < n; ++i) {
      const auto at = static_cast<size_t>(i);
      const auto keys = static_cast<double>(i + 1), last = static_cast<double>(i);
      EXPECT_TRUE(difference(r.entropy[at], std::log(keys)) <= 2e-6) << i;
      EXPECT_TRUE(difference(r.max[at], 1 / keys) <= 1e-7) << i;
      EXPECT_EQ(r.argmax[at], 0);
      EXPECT_TRUE(difference(r.distance[at], last / 2) <= 1e-4) << i;
      EXPECT_TRUE(difference(r.distance_variance[at], (keys * keys - 1) / 12) <= 1e-6 * keys * keys) << i;
      EXPECT_TRUE(difference(r.sink[at], 1 / keys) <= 1e-7) << i;
      EXPECT_TRUE(difference(r.window[at], std::min(3.0, keys) / keys) <= 1e-6) << i;
      EXPECT_TRUE(difference(r.out[at * 4], last / 2) <= 1e-6 * keys) << i;
      EXPECT_EQ(r.row_max[at], 0);
      EXPECT_TRUE(difference(r.log_sum[at], std::log(keys)) <= 1e-6) << i;
    }
    const double expected = n == 4 ? 0.794513 : n == 64 ? 3.205753 : 5.935754;  // ln(n!) / n
    EXPECT_TRUE(difference(mean(r.entropy, 0, static_cast<size_t>(n)), expected) <= 1e-6) << n;
  }
}

/// Four tokens, four query heads on one KV head: each attends to itself, the previous token, the first, all.
TEST_P(HandValues, SelfPreviousFirstAndUniformHeads) {
  AttentionCase c = zero_case(4, 1, 4, 4);
  c.spec.cells = 4;
  c.problem.scale = 200;
  for (int64_t i = 0; i < 4; ++i) {
    c.key(0, 0, i)[i] = c.value(0, 0, i)[i] = 1;
    const_cast<float*>(c.problem.q.row(0, 0, i))[i] = 1;
    const_cast<float*>(c.problem.q.row(0, 1, i))[std::max<int64_t>(i - 1, 0)] = 1;
    const_cast<float*>(c.problem.q.row(0, 2, i))[0] = 1;
  }
  const Results r = run(c);
  const double entropies[] = {0, 0, 0, 0.794513}, distances[] = {0, 0.75, 1.5, 0.75};
  const double sinks[] = {0, 0.333333, 1, 0.361111};
  for (size_t h = 0; h < 4; ++h) {
    EXPECT_TRUE(difference(mean(r.entropy, h * 4, h * 4 + 4), entropies[h]) <= 1e-6) << h;
    EXPECT_TRUE(difference(mean(r.distance, h * 4, h * 4 + 4), distances[h]) <= 1e-6) << h;
    EXPECT_TRUE(difference(mean(r.sink, h * 4 + 1, h * 4 + 4), sinks[h]) <= 1e-6) << h;
  }
  const std::vector<int32_t> argmax = {0, 1, 2, 3, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0};
  EXPECT_EQ(r.argmax, argmax);
  // One-hot values: the output is the map, and at one token a cell so is the thumbnail.
  EXPECT_TRUE(all_near(r.out, r.thumbnails, 1e-7));
  const std::vector<float> previous = {1, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0};
  EXPECT_EQ(std::vector<float>(r.out.begin() + 16, r.out.begin() + 32), previous);
}

TEST_P(HandValues, TwoKeysThreeToOne) {
  AttentionCase c = zero_case(1, 1, 2, 1);
  c.q = {0, 2};
  c.k = {std::log(3.0F), 0};
  c.v = {8, 4};
  c.problem.scale = 0.5F;
  const Results r = run(c);
  EXPECT_TRUE(all_near(r.out, std::vector<float>{8, 7}, 1e-6));
  EXPECT_TRUE(all_near(r.row_max, std::vector<double>{0, std::log(3.0)}, 1e-7));
  EXPECT_TRUE(all_near(r.log_sum, std::vector<double>{0, std::log(4.0 / 3)}, 1e-7));
  EXPECT_TRUE(all_near(r.entropy, std::vector<double>{0, 0.5623351446188083}, 2e-7));
  EXPECT_TRUE(all_near(r.distance, std::vector<double>{0, 0.75}, 1e-7));
  EXPECT_TRUE(all_near(r.distance_variance, std::vector<double>{0, 0.1875}, 1e-7));
}

TEST_P(HandValues, SoftCap) {
  AttentionCase c = zero_case(1, 1, 1, 1);
  c.q = {10};
  c.k = {-3};
  c.problem.soft_cap = 20;
  EXPECT_TRUE(all_near(run(c).row_max, std::vector<double>{20 * std::tanh(-1.5)}, 4e-6));
}

TEST_P(HandValues, AlibiDoublesTowardsTheQuery) {
  AttentionCase c = zero_case(2, 1, 3, 3);
  c.slopes = {0, std::log(2.0F)};
  c.problem.alibi_slopes = c.slopes.data();
  for (int64_t j = 0; j < 3; ++j) c.value(0, 0, j)[j] = 1;
  const Results r = run(c);
  const std::vector<double> uniform = {1.0 / 3, 1.0 / 3, 1.0 / 3}, doubling = {1.0 / 7, 2.0 / 7, 4.0 / 7};
  EXPECT_TRUE(all_near(std::vector<float>(r.out.begin() + 6, r.out.begin() + 9), uniform, 1e-7));
  EXPECT_TRUE(all_near(std::vector<float>(r.out.begin() + 15, r.out.end()), doubling, 1e-7));
  EXPECT_TRUE(difference(r.row_max[5], 2 * std::log(2.0)) <= 2e-7) << "scores count from key 0";
  EXPECT_TRUE(difference(r.row_max[5] + r.log_sum[5], std::log(7.0)) <= 3e-7);
}

TEST_P(HandValues, LogWeightsAreWeights) {
  AttentionCase c = zero_case(1, 1, 4, 4);
  c.problem.causal = false;
  c.log_weight = {std::log(1.0F), std::log(2.0F), std::log(5.0F), -std::numeric_limits<float>::infinity()};
  c.problem.key_log_weight = c.log_weight.data();
  for (int64_t j = 0; j < 4; ++j) c.value(0, 0, j)[j] = 1;
  const Results r = run(c);
  EXPECT_TRUE(
      all_near(std::vector<float>(r.out.begin(), r.out.begin() + 4), std::vector<double>{0.125, 0.25, 0.625, 0}, 1e-7));
  EXPECT_EQ(r.argmax[0], 2);
}

TEST_P(HandValues, EmptyRowsAreZero) {
  AttentionCase c = zero_case(1, 1, 3, 2);
  c.problem.causal_offset = -2;  // only the last row sees a key
  std::fill(c.v.begin(), c.v.end(), 9.0F);
  const Results r = run(c);
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(r.out, (std::vector<float>{0, 0, 0, 0, 9, 9}));
  EXPECT_EQ(r.row_max, (std::vector<float>{-infinity, -infinity, 0}));
  EXPECT_EQ(r.log_sum, (std::vector<float>{0, 0, 0}));
  EXPECT_EQ(r.argmax, (std::vector<int32_t>{-1, -1, 0}));
  EXPECT_EQ(r.max, (std::vector<float>{0, 0, 1}));
  for (const auto* array : {&r.entropy, &r.distance, &r.distance_variance}) {
    EXPECT_EQ(*array, (std::vector<float>{0, 0, 0}));
  }
  EXPECT_EQ(r.sink, (std::vector<float>{0, 0, 1}));
  EXPECT_EQ(r.window, (std::vector<float>{0, 0, 1}));
}

TEST_P(HandValues, TheGroupReadsItsKvHead) {
  AttentionCase c = zero_case(6, 3, 2, 1);
  for (int64_t h = 0; h < 3; ++h) c.value(0, h, 0)[0] = c.value(0, h, 1)[0] = static_cast<float>(h);
  EXPECT_EQ(run(c).out, (std::vector<float>{0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2}));
}

/// A far-off, sharp row: the difference of raw moments in f32 would be garbage here.
TEST_P(HandValues, VarianceAtLongDistance) {
  AttentionCase c = zero_case(1, 1, 1, 1);
  const int64_t n = 131072;
  c.problem.kv_len = n;
  c.problem.causal_offset = n - 1;
  c.k.assign(static_cast<size_t>(n), -100.0F);
  c.v.assign(static_cast<size_t>(n), 0.0F);
  c.q = {1};
  c.problem.k = c.problem.v = {c.k.data(), n, n, 1};
  for (const int64_t j : {252, 260}) c.k[static_cast<size_t>(j)] = 0;  // on both sides of a block's edge
  const Results r = run(c);
  EXPECT_TRUE(all_near(r.distance, std::vector<double>{static_cast<double>(n - 1 - 256)}, 0.01));
  EXPECT_TRUE(all_near(r.distance_variance, std::vector<double>{16}, 1e-5));
  EXPECT_TRUE(all_near(r.entropy, std::vector<double>{std::log(2.0)}, 1e-6));
}

/// With a window of 1 the row maximum is the score: soft_cap * tanh of the product.
TEST_P(HandValues, TanhIsAccurate) {
  const int64_t n = 4000;
  AttentionCase c = zero_case(1, 1, n, 1);
  c.problem.window = 1;
  c.problem.soft_cap = 1;
  std::fill(c.q.begin(), c.q.end(), 1.0F);
  for (int64_t j = 0; j < n; ++j)
    c.k[static_cast<size_t>(j)] = 20 * static_cast<float>(j - n / 2) / static_cast<float>(n);
  const Results r = run(c);
  for (int64_t j = 0; j < n; ++j) {
    const double exact = std::tanh(double{c.k[static_cast<size_t>(j)]});
    ASSERT_TRUE(difference(r.row_max[static_cast<size_t>(j)], exact) <= 3e-7 * std::abs(exact)) << j;
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, HandValues, ::testing::ValuesIn(f32_kernels()), kernel_test_name<AttentionKernel>);

TEST(Selection, TheReferenceIsFirstAndTheFallback) {
  const auto kernels = attention_kernels();
  ASSERT_FALSE(kernels.empty());
  EXPECT_EQ(kernels.front().name, "reference");
  AttentionCase c = zero_case(1, 1, 1, 2);
  EXPECT_EQ(select_attention_kernel(c.problem).name, f32_kernels().back().name);
  EXPECT_EQ(select_attention_kernel(c.problem, "no such device").name, "reference");
  for (const AttentionKernel& kernel : f32_kernels()) EXPECT_FALSE(kernel.unsupported(c.problem)) << kernel.name;
}

}  // namespace
}  // namespace headscope::testing
