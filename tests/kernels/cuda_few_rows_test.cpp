// The CUDA kernels of few query rows on the emulator: results against the reference.
#include <gtest/gtest.h>

#include <functional>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/few_rows.h"
#include "kernels/cuda/few_rows_plan.cuh"
#include "tests/kernels/attention_case.h"
#include "tests/kernels/naive_attention.h"
#include "tests/support/compare.h"

namespace headscope::testing {
namespace {

using cuda::SplitPlan;

AttentionKernel few_rows_kernel() {
  AttentionKernel kernel = cuda::attention_kernel("cuda/emulated");
  kernel.forward_workspace = cuda::few_rows_workspace;
  kernel.forward = cuda::few_rows_forward;
  return kernel;
}

Results run(const AttentionCase& c) { return run_forward(few_rows_kernel(), c, SerialFor()); }

/// Compares with the reference, which is as far as naive computations of the same thing are from it.
void expect_near_reference(const AttentionCase& c) {
  const Results actual = run(c), expected = run_forward(reference_kernel(), c, SerialFor());
  const bool rounded = c.spec.element == Element::bf16;
  const Results naive = naive_attention(c, {DotOrder::forward, rounded}).results;
  const Results backward = naive_attention(c, {DotOrder::backward, rounded}).results;
  for (const NamedArray& array : result_arrays()) {
    const auto& wanted = expected.*array.array;
    const double allowed = std::max({kernel_tolerance(naive.*array.array, wanted),
                                     kernel_tolerance(backward.*array.array, wanted), 4 * f32_ulp(std::vector{1.0F})});
    EXPECT_TRUE(all_near(actual.*array.array, wanted, 2 * allowed)) << array.name;
  }
  for (size_t row = 0; row < actual.argmax.size(); ++row) {
    if (actual.argmax[row] == expected.argmax[row]) continue;
    EXPECT_LT(difference(actual.max[row], expected.max[row]), 1e-5) << "argmax of row " << row;
  }
}

CaseSpec spec_of(int64_t group, int64_t q_len, int64_t kv_len, int64_t dim) {
  CaseSpec spec = grouped_spec(q_len, kv_len);
  spec.q_heads = 2 * group;
  spec.kv_heads = 2;
  spec.key_dim = spec.value_dim = dim;
  return spec;
}

/// Values that lie in the same memory as the keys.
AttentionCase shared_case(const CaseSpec& spec) {
  AttentionCase c(spec);
  c.problem.v = c.problem.k;
  return c;
}

void set_number(const InputRows& rows, int64_t head, int64_t row, int64_t dim, float number) {
  if (rows.element == Element::f32) {
    const_cast<float*>(rows.row(0, head, row))[dim] = number;
  } else {
    const_cast<uint16_t*>(rows.row<uint16_t>(0, head, row))[dim] = to_bf16(number);
  }
}

/// Heads of the second KV head see a bad number from query row `first` on: in dimension `dim` of `out` alone or (-1)
/// in all. Rows that do not see it have the bits of the clean results.
void expect_bad_from_row(const Results& clean, const Results& dirty, const AttentionProblem& p, int64_t first,
                         int64_t dim) {
  for (int64_t i = 0; i < static_cast<int64_t>(clean.out.size()); ++i) {
    const int64_t row = i / p.value_dim, at = i % p.value_dim;
    const float value = dirty.out[static_cast<size_t>(i)], sound = clean.out[static_cast<size_t>(i)];
    SCOPED_TRACE("row " + std::to_string(row) + ", dimension " + std::to_string(at));
    if (row / p.q_len < p.q_heads / 2 || row % p.q_len < first) {
      ASSERT_EQ(value, sound);
    } else if (dim >= 0 && at != dim) {
      ASSERT_NEAR(value, sound, 1e-5);
    } else {
      ASSERT_FALSE(std::isfinite(value));
    }
  }
}

/// Absorbed MLA: all query heads read one latent head, whose first 512 numbers are the values.
CaseSpec latent_spec(int64_t heads, int64_t q_len, int64_t kv_len) {
  CaseSpec spec = grouped_spec(q_len, kv_len);
  spec.q_heads = heads;
  spec.kv_heads = 1;
  spec.key_dim = 576;
  spec.value_dim = 512;
  return spec;
}

class FewRows : public ::testing::TestWithParam<Element> {
 protected:
  static CaseSpec of_element(CaseSpec spec) {
    spec.element = GetParam();
    return spec;
  }
};

TEST_P(FewRows, GroupsOfAnySize) {
  for (const int64_t group : {1, 7, 8, 16, 40, 100}) {
    SCOPED_TRACE(group);
    expect_near_reference(AttentionCase(of_element(spec_of(group, 1, 330, 24))));
  }
}

/// Two keys leave the rounding of weights and values nothing to average over.
TEST(FewRowsOfF32, AllPlanesCount) {
  for (const int64_t group : {8, 40}) {
    const AttentionCase c(spec_of(group, 1, 2, 24));
    const Results expected = run_forward(reference_kernel(), c, SerialFor());
    EXPECT_TRUE(all_near(run(c).out, expected.out, 1e-6));
  }
}

TEST_P(FewRows, LatentsOfManyHeads) {
  for (const auto& [q_len, kv_len] : {std::pair<int64_t, int64_t>{1, 300}, {3, 70}, {20, 33}}) {
    SCOPED_TRACE(q_len);
    expect_near_reference(shared_case(of_element(latent_spec(128, q_len, kv_len))));
  }
}

TEST_P(FewRows, LatentsOfFewHeads) {
  for (const int64_t q_len : {1, 3, 20}) {
    SCOPED_TRACE(q_len);
    expect_near_reference(shared_case(of_element(latent_spec(4, q_len, 130))));
  }
}

TEST_P(FewRows, LargeKeysAndValuesApart) {
  expect_near_reference(AttentionCase(of_element(latent_spec(3, 2, 200))));
  expect_near_reference(AttentionCase(of_element(latent_spec(20, 1, 100))));
}

/// One memory for keys and values: keys are turned when they are read.
TEST_P(FewRows, ValuesAlone) {
  for (const RotationStyle style : {RotationStyle::rotate_half, RotationStyle::interleaved}) {
    for (const int64_t group : {1, 12}) {
      CaseSpec spec = of_element(spec_of(group, 3, 600, 40));
      spec.rotation = {style, 24, 8};
      expect_near_reference(shared_case(spec));
      expect_near_reference(AttentionCase(spec));
    }
  }
}

TEST_P(FewRows, LatentsWhoseLastNumbersAreTurned) {
  CaseSpec spec = of_element(latent_spec(16, 1, 150));
  spec.rotation = {RotationStyle::interleaved, 64, 512};
  expect_near_reference(shared_case(spec));
}

TEST_P(FewRows, MasksAndBiases) {
  const std::vector<std::function<void(CaseSpec&)>> changes = {
      [](CaseSpec& s) { s.window = 300, s.poison = true; },
      [](CaseSpec& s) { s.soft_cap = 3; },
      [](CaseSpec& s) { s.alibi = s.scores_kept = true; },
      [](CaseSpec& s) { s.causal = false, s.window = 40; },
      [](CaseSpec& s) { s.log_weights = LogWeights::holes, s.poison = true, s.kv_heads = s.q_heads; },
      [](CaseSpec& s) { s.offset = -2; },
      [](CaseSpec& s) { s.offset = 100, s.poison = s.scores_kept = true; },
      [](CaseSpec& s) { s.memory = Memory::interleaved, s.batch = 2, s.sink_tokens = 70, s.window_tokens = 100; },
      [](CaseSpec& s) { s.scores = Scores::falling, s.value_dim = 80; },
  };
  for (size_t i = 0; i < changes.size(); ++i) {
    SCOPED_TRACE(i);
    CaseSpec spec = of_element(spec_of(4, 5, 700, 24));
    changes[i](spec);
    expect_near_reference(AttentionCase(spec));
  }
}

TEST_P(FewRows, SplitsWithRisingScores) {
  CaseSpec spec = of_element(spec_of(2, 2, 2100, 64));
  spec.scores = Scores::rising;
  spec.scores_kept = true;
  expect_near_reference(AttentionCase(spec));
}

/// Equal scores in several splits: the lowest key wins.
TEST_P(FewRows, TiesOverSplits) {
  CaseSpec spec = of_element(spec_of(5, 2, 2100, 4));
  spec.scores = Scores::ties;
  const AttentionCase c(spec);
  EXPECT_EQ(run(c).argmax, run_forward(reference_kernel(), c, SerialFor()).argmax);
}

TEST_P(FewRows, SplitsAgreeWithOneSplit) {
  // 264 blocks leave the keys whole; all sequences are the same.
  CaseSpec spec = of_element(spec_of(1, 1, 600, 16));
  spec.q_heads = spec.kv_heads = 1;
  const AttentionCase few(spec);
  AttentionCase many(few);
  const int64_t wanted = cuda::wanted_blocks({});
  many.problem.batch = wanted;
  for (InputRows* rows : {&many.problem.q, &many.problem.k, &many.problem.v}) rows->batch_stride = 0;
  ASSERT_EQ(SplitPlan::of({0, 600}, 1, wanted).count, 3);
  ASSERT_EQ(SplitPlan::of({0, 600}, wanted, wanted).count, 1);
  const Results split = run(few), whole = run(many);
  for (const NamedArray& array : result_arrays()) {
    const auto& all = whole.*array.array;
    const std::vector<float> first(all.begin(), all.begin() + static_cast<int64_t>((split.*array.array).size()));
    // Weights are rounded to bf16 relative to the largest of the split, or of all.
    const bool rounded = GetParam() == Element::bf16 && array.array == &Results::out;
    EXPECT_TRUE(all_near(first, split.*array.array, rounded ? 4e-3 : 20 * f32_ulp(first) + 1e-6)) << array.name;
  }
}

TEST_P(FewRows, RunsHaveTheSameBits) {
  const AttentionCase c(of_element(spec_of(7, 2, 1300, 40)));
  const Results first = run(c), second = run(c);
  for (const NamedArray& array : result_arrays()) {
    EXPECT_TRUE(same_bits(first.*array.array, second.*array.array)) << array.name;
  }
}

/// Of the rows that a tile of the tensor cores holds, some see the key and some do not.
TEST_P(FewRows, ABadNumberReachesOnlyTheRowsThatSeeIt) {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
  for (const int64_t group : {1, 5}) {
    for (const float bad : {nan, infinity}) {
      const AttentionCase clean(of_element(spec_of(group, 9, 700, 24)));
      AttentionCase dirty(of_element(spec_of(group, 9, 700, 24)));
      set_number(dirty.problem.v, 1, 695, 7, bad);
      expect_bad_from_row(run(clean), run(dirty), dirty.problem, 4, 7);
      if (bad == infinity) continue;
      AttentionCase no_key(of_element(spec_of(group, 9, 700, 24)));
      set_number(no_key.problem.k, 1, 695, 3, bad);
      expect_bad_from_row(run(clean), run(no_key), no_key.problem, 4, -1);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, FewRows, ::testing::Values(Element::f32, Element::bf16),
                         [](const auto& test) { return test.param == Element::f32 ? "f32" : "bf16"; });

}  // namespace
}  // namespace headscope::testing
