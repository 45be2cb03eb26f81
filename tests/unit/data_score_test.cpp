#include <gtest/gtest.h>

#include <cmath>

#include "core/arch/alibi.h"
#include "core/data/layer_problem.h"
#include "core/data/score.h"
#include "core/data/tiles.h"
#include "kernels/kernels.h"
#include "tests/unit/data_sample.h"

namespace headscope {
namespace {

using sample::GrowingRun;
using sample::RunShape;

constexpr int64_t tokens = 70;

struct ScoreCase {
  const char* name;
  RunShape shape;
};

std::vector<ScoreCase> cases() {
  std::vector<ScoreCase> out{{"plain", {}},
                             {"groups", {.q_heads = 4, .kv_heads = 2, .key_dim = 20}},
                             {"window", {.window = 9}},
                             {"soft_cap", {.soft_cap = 1.5}},
                             {"alibi", {.alibi = true}},
                             {"shared_layers", {.layers = 2, .layers_per_cache = 2}}};
  for (ScoreCase& c : out) c.shape.spread = 2;
  return out;
}

struct ScoreKindTest : ::testing::TestWithParam<ScoreCase> {};

/// The reference kernel's weights of all keys for all queries of a head, from its own softmax in double.
std::vector<float> reference_map(const RunSnapshot& run, int64_t layer, int64_t head) {
  const AttentionKernel& reference = attention_kernels().front();
  AttentionProblem problem = layer_problem(*run.architecture, layer);
  const int64_t dim = problem.key_dim, kv_head = head / (problem.q_heads / problem.kv_heads);
  const KvRows& store = run.store_of(layer);
  const RowsView& q = run.layers[static_cast<size_t>(layer)].q;
  problem.q_heads = problem.kv_heads = 1;
  problem.q_len = problem.kv_len = run.tokens();
  problem.q = {q.row(0) + head * dim, 0, 0, q.width()};
  problem.k = {store.k.row(0) + kv_head * dim, 0, 0, store.k.width()};
  problem.v = {store.v.row(0) + kv_head * dim, 0, 0, store.v.width()};
  const PositionBias bias(*run.architecture, head, 1, problem.kv_len);
  bias.add_to(problem);
  std::vector<float> row_max(tokens), log_sum(tokens), cells(tokens * tokens);
  AttentionOutput output;
  output.row_max = row_max.data();
  output.log_sum = log_sum.data();
  std::vector<std::byte> scratch(reference.forward_workspace(problem, output, 1) + 4096);
  reference.forward(problem, output, scratch, SerialFor());
  const TileRequest request{0, 0, 0, tokens, 0, tokens};
  float* first = cells.data();
  EXPECT_TRUE(
      reference.tiles(problem, row_max.data(), log_sum.data(), {&request, 1}, {&first, 1}, scratch, SerialFor(), {}));
  return cells;
}

TEST_P(ScoreKindTest, WeightsAreThoseOfTheReferenceAndOfTiles) {
  GrowingRun growing(GetParam().shape);
  growing.append(tokens);
  const auto run = growing.snapshot();
  for (int64_t layer = 0; layer < GetParam().shape.layers; ++layer) {
    for (int64_t head = 0; head < GetParam().shape.q_heads; ++head) {
      const std::vector<float> reference = reference_map(*run, layer, head);
      const Tile tile = compute_tile(*run, {layer, head, 0, tokens, 0, tokens}, SerialFor());
      for (int64_t i = 0; i < tokens * tokens; ++i) {
        const ScoredWeight got = score_and_weight(*run, layer, head, i / tokens, i % tokens);
        const auto at = static_cast<size_t>(i);
        // Scores reach about 20, so a log-sum-exp in f32 is off by up to 2e-6 and weights by that factor.
        ASSERT_NEAR(got.weight, double{reference[at]}, 4e-6 * got.weight + 1e-37) << layer << ":" << head << " " << i;
        ASSERT_NEAR(got.weight, double{tile.cells[at]}, 2e-5 * got.weight + 1e-37) << layer << ":" << head << " " << i;
        ASSERT_EQ(got.weight == 0, std::isinf(got.score)) << i;
      }
    }
  }
}

TEST_P(ScoreKindTest, ScoresOfARowGiveItsLogSumExp) {
  GrowingRun growing(GetParam().shape, 3);
  growing.append(tokens);
  const auto run = growing.snapshot();
  const LayerRows& rows = run->layers.back();
  const auto layer = static_cast<int64_t>(run->layers.size()) - 1;
  for (int64_t query = 0; query < tokens; ++query) {
    double sum = 0, most = -INFINITY;
    for (int64_t key = 0; key < tokens; ++key) {
      const double score = score_and_weight(*run, layer, 1, query, key).score;
      most = std::max(most, score);
      sum += std::exp(score);
      const int64_t window = GetParam().shape.window;
      ASSERT_EQ(std::isinf(score), key > query || (window > 0 && key <= query - window)) << query << " " << key;
    }
    ASSERT_NEAR(most, double{rows.row_max.row(query)[1]}, 1e-5 * std::max(1.0, std::abs(most))) << query;
    ASSERT_NEAR(std::log(sum), double{rows.row_max.row(query)[1]} + double{rows.log_sum.row(query)[1]},
                1e-5 * std::max(1.0, std::abs(most)))
        << query;
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, ScoreKindTest, ::testing::ValuesIn(cases()),
                         [](const auto& c) { return c.param.name; });

TEST(ScoreTest, WeightsTooSmallForF32AreStillRight) {
  GrowingRun growing({.spread = 200});
  growing.append(tokens);
  const auto run = growing.snapshot();
  const LayerRows& rows = run->layers[0];
  int found = 0;
  for (int64_t key = 0; key < tokens; ++key) {
    const ScoredWeight got = score_and_weight(*run, 0, 0, tokens - 1, key);
    const double lse = double{rows.row_max.row(tokens - 1)[0]} + double{rows.log_sum.row(tokens - 1)[0]};
    if (got.score - lse > -110 || got.score - lse < -700) continue;
    ++found;
    EXPECT_EQ(compute_tile(*run, {0, 0, tokens - 1, tokens, key, key + 1}, SerialFor()).cells[0], 0.0F);
    EXPECT_GT(got.weight, 0);
    EXPECT_NEAR(std::log(got.weight), got.score - lse, 1e-9 * std::abs(got.score));
  }
  EXPECT_GT(found, 5);
}

/// To 8 significant bits, by arithmetic.
double bf16(double value) {
  int exponent = 0;
  const double mantissa = std::frexp(value, &exponent);
  return std::ldexp(std::nearbyint(std::ldexp(mantissa, 8)), exponent - 8);
}

TEST(ScoreTest, AlibiIsTheFormulaRoundedOrExact) {
  constexpr int64_t heads = 32, keys = 1000;
  Architecture a;
  a.position.scheme = PositionScheme::alibi;
  a.position.alibi_slopes = alibi_slopes(heads);
  a.position.alibi_scale = 1 / std::sqrt(64.0);
  for (const bool rounded : {true, false}) {
    a.position.alibi_bf16 = rounded;
    AttentionProblem problem;
    const PositionBias bias(a, 0, heads, keys);
    bias.add_to(problem);
    double most = 0;
    for (int64_t head = 0; head < heads; ++head) {
      const double slope = std::exp2(-8.0 * static_cast<double>(head + 1) / heads);
      for (int64_t key = 0; key < keys; ++key) {
        const auto position = static_cast<double>(key);
        const double exact = slope * position / 8, formula = bf16(bf16(slope) * bf16(position)) / 8;
        const double expected = rounded ? formula : exact;
        ASSERT_NEAR(position_score(a, head, key), expected, 1e-7 * expected) << head << " " << key;
        const double term =
            rounded ? double{problem.key_log_weight[head * keys + key]} : double{problem.alibi_slopes[head]} * position;
        ASSERT_NEAR(term, expected, 1e-7 * expected) << head << " " << key;
        most = std::max(most, std::abs(formula - exact));
      }
    }
    EXPECT_GT(most, 0.1);  // so far apart are the two
  }
}

TEST(ScoreTest, PlacesOutsideTheRunAreRefused) {
  GrowingRun growing({});
  growing.append(4);
  const auto run = growing.snapshot();
  EXPECT_THROW(score_and_weight(*run, 1, 0, 0, 0), Error);
  EXPECT_THROW(score_and_weight(*run, -1, 0, 0, 0), Error);
  EXPECT_THROW(score_and_weight(*run, 0, 2, 0, 0), Error);
  EXPECT_THROW(score_and_weight(*run, 0, 0, 4, 0), Error);
  EXPECT_THROW(score_and_weight(*run, 0, 0, 0, 4), Error);
  EXPECT_THROW(score_and_weight(*run, 0, 0, 0, -1), Error);
  EXPECT_NEAR(score_and_weight(*run, 0, 0, 0, 0).weight, 1, 1e-6);
}

}  // namespace
}  // namespace headscope
