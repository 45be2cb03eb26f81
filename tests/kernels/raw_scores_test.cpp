// Scores that a forward pass writes as its softmax takes them, for every kernel.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/kernels/attention_case.h"
#include "tests/kernels/kernel_test_name.h"
#include "tests/support/compare.h"

namespace headscope::testing {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

CaseSpec spec_of(int64_t q_len, int64_t kv_len) {
  CaseSpec spec = grouped_spec(q_len, kv_len);
  spec.batch = 2;
  spec.q_heads = 6;
  spec.key_dim = spec.value_dim = 24;
  spec.scores_kept = true;
  return spec;
}

class RawScores : public ::testing::TestWithParam<AttentionKernel> {
 protected:
  const ThreadPool pool_{3};

  Results run(const AttentionCase& c) const { return run_forward(GetParam(), c, pool_); }
};

TEST_P(RawScores, AreThoseOfTheDefinition) {
  CaseSpec spec;
  spec.q_len = 2;
  spec.kv_len = 4;
  spec.offset = 2;
  spec.key_dim = spec.value_dim = 1;
  spec.scores_kept = true;
  AttentionCase c(spec);
  c.q = {1, 2};
  c.k = {3, -1, 5, 4};
  c.slopes = {0.25F};
  c.log_weight = {0.5F, -infinity, -1, 2};
  c.problem.scale = 0.5F;
  c.problem.soft_cap = 2;
  c.problem.alibi_slopes = c.slopes.data();
  c.problem.key_log_weight = c.log_weight.data();
  const auto score = [](double product, double key, double weight) {
    return 2 * std::tanh(product / 2) + 0.25 * key + weight;
  };
  const double hidden = -std::numeric_limits<double>::infinity();
  const std::vector<double> expected = {score(1.5, 0, 0.5), hidden, score(2.5, 2, -1), hidden,
                                        score(3, 0, 0.5),   hidden, score(5, 2, -1),   score(4, 3, 2)};
  EXPECT_TRUE(all_near(run(c).scores, expected, 1e-6));
}

TEST_P(RawScores, AreMinusInfinityWhereARowSeesNoKey) {
  CaseSpec spec = spec_of(5, 2600);  // computed split by split
  spec.window = 1300;
  spec.offset = 2590;  // rows 0 to 4 have positions 2,590 to 2,594; keys behind them are seen by none
  const Results r = run(AttentionCase(spec));
  for (int64_t row = 0; row < 2 * 6 * 5; ++row) {
    for (int64_t key = 0; key < 2600; ++key) {
      const int64_t position = 2590 + row % 5;
      const float score = r.scores[static_cast<size_t>(row * 2600 + key)];
      const bool seen = key <= position && key > position - 1300;
      ASSERT_TRUE(seen ? std::isfinite(score) : score == -infinity) << "row " << row << ", key " << key;
    }
  }
}

TEST_P(RawScores, OfEmptyRowsAreMinusInfinity) {
  CaseSpec spec = spec_of(3, 40);
  spec.offset = -3;
  const std::vector<float> scores = run(AttentionCase(spec)).scores;
  EXPECT_EQ(scores, std::vector<float>(scores.size(), -infinity));
}

TEST_P(RawScores, BeforeTheFirstKeyAreMinusInfinity) {
  CaseSpec spec = spec_of(4, 1500);
  spec.batch = 1;
  spec.alibi = true;
  const AttentionCase full(spec);
  AttentionCase gone = full;
  gone.problem.first_key = 700;
  gone.problem.k = gone.problem.k.from(700);
  gone.problem.v = gone.problem.v.from(700);
  const std::vector<float> all = run(full).scores, scores = run(gone).scores;
  for (size_t i = 0; i < all.size(); ++i) ASSERT_EQ(scores[i], i % 1500 < 700 ? -infinity : all[i]) << i;
}

/// Of a long and a short call: splits and none.
TEST_P(RawScores, AreWhatTheWeightsAreMadeOf) {
  for (const auto& [q_len, kv_len] : {std::pair<int64_t, int64_t>{2, 2100}, {40, 300}}) {
    CaseSpec spec = spec_of(q_len, kv_len);
    spec.alibi = true;
    spec.soft_cap = 5;
    spec.log_weights = LogWeights::finite;
    const AttentionCase c(spec);
    const Results r = run(c);
    const TileRequest map{1, 4, 0, q_len, 0, kv_len, 1, Pooling::max};
    const std::vector<float> weights = run_tile(GetParam(), c.problem, r, map, pool_);
    for (int64_t i = 0; i < q_len * kv_len; ++i) {
      const auto row = static_cast<size_t>((6 + 4) * q_len + i / kv_len);
      const double score = r.scores[row * static_cast<size_t>(kv_len) + static_cast<size_t>(i % kv_len)];
      ASSERT_NEAR(std::exp(score - double{r.row_max[row]} - double{r.log_sum[row]}), weights[static_cast<size_t>(i)],
                  1e-6 + 1e-7 * std::abs(score))
          << "row " << i / kv_len << ", key " << i % kv_len;
    }
  }
}

TEST_P(RawScores, ChangeNothingElse) {
  for (const auto& [q_len, kv_len] : {std::pair<int64_t, int64_t>{1, 3000}, {70, 500}}) {
    CaseSpec spec = spec_of(q_len, kv_len);
    const Results kept = run(AttentionCase(spec));
    spec.scores_kept = false;
    const Results plain = run(AttentionCase(spec));
    EXPECT_EQ(plain.scores.size(), 0U);
    for (const NamedArray& array : result_arrays()) {
      if (array.array == &Results::scores) continue;
      EXPECT_TRUE(same_bits(kept.*array.array, plain.*array.array)) << array.name;
    }
    EXPECT_EQ(kept.argmax, plain.argmax);
  }
}

TEST_P(RawScores, MayBeAllThatIsWanted) {
  const AttentionCase c(spec_of(2, 1100));
  const std::vector<float> expected = run(c).scores;
  std::vector<float> scores(expected.size());
  AttentionOutput output;
  output.scores = {scores.data(), 6 * 2 * 1100, 2 * 1100, 1100};
  Guarded<std::byte> workspace(GetParam().forward_workspace(c.problem, output, pool_.workers()));
  GetParam().forward(c.problem, output, workspace.span(), pool_);
  EXPECT_TRUE(same_bits(scores, expected));
}

TEST_P(RawScores, NaNStaysAtItsKey) {
  CaseSpec spec = spec_of(2, 1100);
  spec.batch = 1;
  const AttentionCase sound(spec);
  AttentionCase c(spec);
  c.key(0, 0, 1030)[3] = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> expected = run(sound).scores, scores = run(c).scores;
  for (size_t i = 0; i < scores.size(); ++i) {
    const bool bad = i % 1100 == 1030 && i / 1100 < 3 * 2;  // of the first KV head's three query heads
    ASSERT_TRUE(bad ? std::isnan(scores[i]) : scores[i] == expected[i]) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, RawScores, ::testing::ValuesIn(f32_kernels()), kernel_test_name<AttentionKernel>);

}  // namespace
}  // namespace headscope::testing
