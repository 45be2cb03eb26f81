// Rotation of queries and keys: both styles, a part of each head, each scaling, against complex numbers in double.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <complex>
#include <random>

#include "core/arch/rope.h"
#include "core/data/rope_table.h"
#include "kernels/parallel.h"
#include "kernels/thread_pool.h"

namespace headscope {
namespace {

constexpr int64_t tokens = 70, heads = 3, dim = 12, first = 5;

Architecture with_rope(const Rope& rope) {
  Architecture a;
  a.position.scheme = PositionScheme::rope;
  a.position.rope = rope;
  a.layers.resize(1);
  a.kv_stores = {{.layer = 0, .kv_heads = heads, .key_dim = dim, .value_dim = dim}};
  return a;
}

std::vector<float> random_rows(uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> rows(static_cast<size_t>(tokens * heads * dim));
  for (float& value : rows) value = normal(random);
  return rows;
}

std::vector<float> rotated(std::vector<float> rows, const Rope& rope) {
  const ThreadPool workers(2);
  RopeTable(with_rope(rope), 0).rotate(rows.data(), tokens, heads, dim, first, workers);
  return rows;
}

/// The two dimensions that turn together.
std::pair<int64_t, int64_t> pair_of(RotationStyle style, int64_t pair, int64_t dims) {
  if (style == RotationStyle::interleaved) return {2 * pair, 2 * pair + 1};
  return {pair, pair + dims / 2};
}

/// Each pair as a complex number times factor * e^(i * position * frequency(pair)).
std::vector<float> by_definition(std::vector<float> rows, const Rope& rope, const std::vector<double>& frequencies,
                                 double factor = 1) {
  for (int64_t row = 0; row < tokens * heads; ++row) {
    const auto position = static_cast<double>(first + row / heads);
    for (int64_t pair = 0; pair < rope.dims / 2; ++pair) {
      const auto [a, b] = pair_of(rope.style, pair, rope.dims);
      float& x = rows[static_cast<size_t>(row * dim + a)];
      float& y = rows[static_cast<size_t>(row * dim + b)];
      const std::complex<double> turned =
          std::complex<double>(x, y) * std::polar(factor, position * frequencies.at(static_cast<size_t>(pair)));
      x = static_cast<float>(turned.real());
      y = static_cast<float>(turned.imag());
    }
  }
  return rows;
}

std::vector<double> plain_frequencies(const Rope& rope) {
  std::vector<double> out;
  for (int64_t pair = 0; pair < rope.dims / 2; ++pair) {
    out.push_back(std::pow(rope.base, -2.0 * static_cast<double>(pair) / static_cast<double>(rope.dims)));
  }
  return out;
}

/// Angles are rounded to f32: 75 positions times an error of 6e-8.
constexpr float tolerance = 5e-5F;

TEST(RopeTable, StylesAndParts) {
  const std::vector<float> rows = random_rows(1);
  for (const RotationStyle style : {RotationStyle::rotate_half, RotationStyle::interleaved}) {
    for (const int64_t dims : {2, 4, 6, 12}) {
      for (const double base : {100.0, 10000.0, 1e6}) {
        const Rope rope{.style = style, .dims = dims, .base = base};
        const std::vector<float> found = rotated(rows, rope);
        EXPECT_THAT(found, testing::Pointwise(testing::FloatNear(tolerance),
                                              by_definition(rows, rope, plain_frequencies(rope))))
            << dims << " of base " << base;
        for (size_t i = 0; i < rows.size(); ++i) {  // the rest of each head stays as it is
          ASSERT_TRUE(static_cast<int64_t>(i) % dim < dims || found[i] == rows[i]) << i;
        }
      }
    }
  }
}

TEST(RopeTable, TheOtherStyleIsNotTheSame) {
  const std::vector<float> rows = random_rows(2);
  const Rope half{.dims = 8}, pairs{.style = RotationStyle::interleaved, .dims = 8};
  double difference = 0;
  const std::vector<float> a = rotated(rows, half), b = rotated(rows, pairs);
  for (size_t i = 0; i < a.size(); ++i) difference = std::max(difference, std::abs(static_cast<double>(a[i] - b[i])));
  EXPECT_GT(difference, 1);
}

/// Meta's files have the pairs side by side; Hugging Face's, in which the rows of each head are re-ordered, do not.
TEST(RopeTable, StylesGiveOneScoreAfterTheReordering) {
  const auto reordered = [](const std::vector<float>& rows) {
    std::vector<float> out = rows;
    for (size_t i = 0; i < rows.size(); ++i) {
      const auto place = static_cast<int64_t>(i) % dim;
      const int64_t to = place % 2 == 0 ? place / 2 : place / 2 + dim / 2;
      out[i - static_cast<size_t>(place) + static_cast<size_t>(to)] = rows[i];
    }
    return out;
  };
  const auto score = [](const std::vector<float>& q, const std::vector<float>& k, int64_t i, int64_t j) {
    double sum = 0;
    for (int64_t d = 0; d < dim; ++d) {
      sum += double{q[static_cast<size_t>(i * heads * dim + d)]} * double{k[static_cast<size_t>(j * heads * dim + d)]};
    }
    return sum;
  };
  const std::vector<float> q = random_rows(3), k = random_rows(4);
  const Rope half{.dims = dim}, pairs{.style = RotationStyle::interleaved, .dims = dim};
  const auto q_pairs = rotated(q, pairs), k_pairs = rotated(k, pairs);
  const auto q_half = rotated(reordered(q), half), k_half = rotated(reordered(k), half);
  const auto q_wrong = rotated(q, half), k_wrong = rotated(k, half);
  double worst = 0;
  for (int64_t i = 0; i < tokens; ++i) {
    for (int64_t j = 0; j < tokens; ++j) {
      EXPECT_NEAR(score(q_pairs, k_pairs, i, j), score(q_half, k_half, i, j), 1e-4);
      worst = std::max(worst, std::abs(score(q_pairs, k_pairs, i, j) - score(q_wrong, k_wrong, i, j)));
    }
  }
  EXPECT_GT(worst, 1) << "without it they differ";
}

/// A score depends on how far apart two positions are, and on nothing else.
TEST(RopeTable, ScoresDependOnTheDistance) {
  for (const RotationStyle style : {RotationStyle::rotate_half, RotationStyle::interleaved}) {
    std::vector<float> row = random_rows(5), rows(static_cast<size_t>(tokens * heads * dim));
    for (size_t i = 0; i < rows.size(); ++i) rows[i] = row[i % (heads * dim)];  // every token is the same
    const std::vector<float> turned = rotated(rows, {.style = style, .dims = 8});
    const auto score = [&](int64_t i, int64_t j) {
      double sum = 0;
      for (int64_t d = 0; d < dim; ++d) {
        sum += double{turned[static_cast<size_t>(i * heads * dim + d)]} *
               double{turned[static_cast<size_t>(j * heads * dim + d)]};
      }
      return sum;
    };
    for (int64_t i = 1; i + 9 < tokens; ++i) EXPECT_NEAR(score(i + 9, i), score(9, 0), 1e-3) << i;
  }
}

TEST(KeyAngles, GiveTheBitsOfARotationBeforehand) {
  RopeScaling yarn;
  yarn.kind = RopeScaling::Kind::yarn;
  yarn.factor = 4;
  yarn.original_context = 50;
  yarn.attention_factor = 1.25;
  for (const Rope& rope : {Rope{.dims = 12}, Rope{.style = RotationStyle::interleaved, .dims = 8, .scaling = yarn}}) {
    const std::vector<float> rows = random_rows(4), expected = rotated(rows, rope);
    const KeyAngles angles(RopeTable(with_rope(rope), 0), first + tokens, ThreadPool(2));
    const KeyRotation rotation = angles.rotation();
    ASSERT_EQ(angles.positions(), first + tokens);
    ASSERT_GE(rotation.stride, first + tokens);
    ASSERT_EQ(rotation.pairs, rope.dims / 2);
    for (int64_t row = 0; row < tokens * heads; ++row) {
      const auto at = [&](int64_t d) { return static_cast<size_t>(row * dim + d); };
      for (int64_t pair = 0; pair < rotation.pairs; ++pair) {
        const int64_t angle = pair * rotation.stride + first + row / heads, a = rotation.dim_of(pair);
        const float cosine = rotation.cosines[angle], sine = rotation.sines[angle];
        const float x = rows[at(a)], y = rows[at(a + rotation.partner())];
        ASSERT_EQ(x * cosine - y * sine, expected[at(a)]) << "row " << row << ", pair " << pair;
        ASSERT_EQ(y * cosine + x * sine, expected[at(a + rotation.partner())]) << "row " << row << ", pair " << pair;
      }
    }
  }
}

TEST(KeyAngles, RowsDoNotLiePowersOfTwoApart) {
  for (const int64_t positions : {1, 16, 1024, 4096, 5000}) {
    const int64_t stride = KeyAngles(RopeTable(with_rope({.dims = 4}), 0), positions, SerialFor()).rotation().stride;
    EXPECT_EQ(stride % 32, 16) << positions;
    EXPECT_LT(stride - positions, 32) << positions;
  }
}

TEST(RopeTable, EachScaling) {
  const std::vector<float> rows = random_rows(6);
  const Rope plain{.dims = 8, .base = 10000};
  const std::vector<double> theta = plain_frequencies(plain);  // 1, 0.1, 0.01, 0.001
  Rope rope = plain;
  rope.scaling = {.kind = RopeScaling::Kind::linear, .factor = 4};
  std::vector<double> expected = theta;
  for (double& frequency : expected) frequency /= 4;
  EXPECT_THAT(rotated(rows, rope),
              testing::Pointwise(testing::FloatNear(tolerance), by_definition(rows, rope, expected)));

  // Wavelengths 6.3, 63, 628 and 6,283; those below 100 / 4 stay, those above 100 / 1 are divided, 63 lies between.
  rope.scaling = {.kind = RopeScaling::Kind::llama3,
                  .factor = 8,
                  .low_freq_factor = 1,
                  .high_freq_factor = 4,
                  .original_context = 100};
  const double t = (100 / (2 * M_PI / 0.1) - 1) / 3;
  expected = {1, (1 - t) * 0.1 / 8 + t * 0.1, 0.01 / 8, 0.001 / 8};
  EXPECT_THAT(rotated(rows, rope),
              testing::Pointwise(testing::FloatNear(tolerance), by_definition(rows, rope, expected)));

  // Yarn: dimensions (of pairs) 4 ln(context / (2 pi turns)) / ln base: 0 (rounded down) for 32 turns, 4 for one.
  rope.scaling = {.kind = RopeScaling::Kind::yarn, .factor = 4, .original_context = 10000, .attention_factor = 1.25};
  const double low = std::floor(4 * std::log(10000 / (32 * 2 * M_PI)) / std::log(10000.0));
  const double high = std::ceil(4 * std::log(10000 / (2 * M_PI)) / std::log(10000.0));
  for (size_t pair = 0; pair < 4; ++pair) {
    const double blend = std::clamp((static_cast<double>(pair) - low) / (high - low), 0.0, 1.0);
    expected[pair] = theta[pair] * (1 - blend) + theta[pair] / 4 * blend;
  }
  EXPECT_THAT(rotated(rows, rope),
              testing::Pointwise(testing::FloatNear(tolerance), by_definition(rows, rope, expected, 1.25)));
}

}  // namespace
}  // namespace headscope
