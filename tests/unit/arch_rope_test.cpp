#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/arch/alibi.h"
#include "core/arch/rope.h"
#include "core/base/error.h"
#include "tests/unit/arch_support.h"

namespace headscope {
namespace {

using arch_test::error_of;
using testing::HasSubstr;

// The expected numbers are what transformers 5.23 computes in f32, hence the relative tolerance of 4e-7 (three
// roundings).
void expect_close(double found, double expected) { EXPECT_NEAR(found, expected, 4e-7 * expected); }

TEST(ArchRope, PlainFrequenciesArePowersOfTheBase) {
  const std::vector<double> theta = rope_inverse_frequencies({.dims = 8, .base = 10000});
  ASSERT_EQ(theta.size(), 4u);
  for (size_t j = 0; j < 4; ++j) EXPECT_NEAR(theta[j], std::pow(10.0, -static_cast<double>(j)), 1e-15);
}

TEST(ArchRope, PartialRotationUsesTheRotatedDimsInTheExponent) {
  // Pythia: 16 of 64 dimensions; the second pair has base^(-2/16).
  const std::vector<double> theta = rope_inverse_frequencies({.dims = 16, .base = 10000});
  ASSERT_EQ(theta.size(), 8u);
  EXPECT_NEAR(theta[1], 0.31622776601683794, 1e-15);
}

TEST(ArchRope, LinearScalingDividesEveryFrequency) {
  Rope rope{.dims = 8, .base = 10000};
  rope.scaling = {.kind = RopeScaling::Kind::linear, .factor = 4};
  const std::vector<double> theta = rope_inverse_frequencies(rope);
  expect_close(theta[0], 0.25);
  expect_close(theta[1], 0.02500000037252903);
  expect_close(theta[3], 0.0002500000118743628);
}

TEST(ArchRope, Llama3ScalingMatchesTransformersBelowInsideAndAboveTheBand) {
  // Llama-3.2-1B: 64 dimensions, base 500000, factor 32, low 1, high 4, original context 8192.
  Rope rope{.dims = 64, .base = 500000};
  rope.scaling = {.kind = RopeScaling::Kind::llama3,
                  .factor = 32,
                  .low_freq_factor = 1,
                  .high_freq_factor = 4,
                  .original_context = 8192};
  const std::vector<double> theta = rope_inverse_frequencies(rope);
  ASSERT_EQ(theta.size(), 32u);
  // Short wavelengths stay as they are.
  expect_close(theta[0], 1.0);
  expect_close(theta[1], 0.663601279258728);
  expect_close(theta[14], 0.0032114461064338684);
  // The band: wavelengths from 2048 to 8192.
  expect_close(theta[15], 0.0012905480107292533);
  expect_close(theta[16], 0.000429556705057621);
  expect_close(theta[17], 9.708286233944818e-05);
  // Long wavelengths are divided by the factor.
  expect_close(theta[18], 1.9461638657958247e-05);
  expect_close(theta[31], 9.418306490260875e-08);
}

TEST(ArchRope, YarnBlendsBetweenTwoDimensions) {
  Rope rope{.dims = 64, .base = 10000};
  rope.scaling = {.kind = RopeScaling::Kind::yarn, .factor = 4, .original_context = 4096};
  const std::vector<double> theta = rope_inverse_frequencies(rope);
  // Values of transformers 5.23 in f32: from dimension 10 (32 turns in 4,096 tokens) to 23 (one turn).
  const std::pair<size_t, double> expected[] = {{0, 1.0},
                                                {10, 0.05623412877},
                                                {11, 0.03973678499},
                                                {14, 0.01367907226},
                                                {18, 0.00302799162},
                                                {22, 0.000547162897},
                                                {23, 0.00033338036},
                                                {26, 0.00014058533},
                                                {31, 3.3338037e-05}};
  for (const auto& [pair, value] : expected) EXPECT_NEAR(theta[pair] / value, 1, 1e-6) << pair;
}

TEST(ArchRope, DynamicGoesByTheLength) {
  Rope rope{.dims = 8, .base = 10000};
  rope.scaling = {.kind = RopeScaling::Kind::dynamic, .factor = 4, .original_context = 512};
  const auto plain = rope_inverse_frequencies({.dims = 8, .base = 10000});
  EXPECT_EQ(rope_inverse_frequencies(rope), plain);
  EXPECT_EQ(rope_inverse_frequencies(rope, 512), plain);
  const double one_more[] = {1, 0.09974093, 0.0099482536, 0.00099224807};
  const double four_times[] = {1, 0.042529035, 0.0018087189, 7.6923076e-05};
  for (size_t j = 0; j < 4; ++j) {
    EXPECT_NEAR(rope_inverse_frequencies(rope, 513)[j] / one_more[j], 1, 1e-6) << j;
    EXPECT_NEAR(rope_inverse_frequencies(rope, 2048)[j] / four_times[j], 1, 1e-6) << j;
  }
  rope.dims = 2;
  EXPECT_THAT(error_of([&] { rope_inverse_frequencies(rope); }), HasSubstr("above 2"));
}

TEST(ArchRope, SenselessSizesAndValuesAreRefused) {
  EXPECT_THAT(error_of([] { rope_inverse_frequencies({.dims = 7}); }), HasSubstr("even"));
  EXPECT_THAT(error_of([] { rope_inverse_frequencies({.dims = 0}); }), HasSubstr("rope.dims"));
  EXPECT_THAT(error_of([] { rope_inverse_frequencies({.dims = 8, .base = -1}); }), HasSubstr("base"));
  Rope rope{.dims = 8};
  rope.scaling = {.kind = RopeScaling::Kind::linear, .factor = 1e-320};
  EXPECT_THAT(error_of([&] { rope_inverse_frequencies(rope); }), HasSubstr("scaling"));
}

TEST(ArchAlibi, PowersOfTwo) {
  const std::vector<double> eight = alibi_slopes(8);
  for (int h = 0; h < 8; ++h) EXPECT_DOUBLE_EQ(eight[static_cast<size_t>(h)], std::ldexp(1.0, -(h + 1)));
  const std::vector<double> sixteen = alibi_slopes(16);
  EXPECT_NEAR(sixteen[0], std::sqrt(0.5), 1e-15);
  EXPECT_NEAR(sixteen[15], 1.0 / 256, 1e-18);
  const std::vector<double> falcon = alibi_slopes(32);
  ASSERT_EQ(falcon.size(), 32u);
  EXPECT_NEAR(falcon[0], 0.840896, 1e-6);
  EXPECT_NEAR(falcon[1], 0.707107, 1e-6);
  EXPECT_NEAR(falcon[2], 0.594604, 1e-6);
  EXPECT_NEAR(falcon[31], 0.00390625, 1e-17);
  EXPECT_DOUBLE_EQ(alibi_slopes(1).front(), 1.0 / 256);
}

TEST(ArchAlibi, OtherCountsTakeEveryOtherSlopeOfTwiceAsMany) {
  const std::vector<double> twelve = alibi_slopes(12);
  const std::vector<double> expected = {.5,       .25,       .125,     .0625,    .03125,   .015625,
                                        .0078125, .00390625, .7071068, .3535534, .1767767, .0883883};
  ASSERT_EQ(twelve.size(), expected.size());
  for (size_t h = 0; h < 12; ++h) EXPECT_NEAR(twelve[h], expected[h], 1e-7) << h;
  // Falcon-7B: 64 slopes of 64 heads, then 7 odd ones of 128. Values of transformers' build_alibi_tensor, in double.
  const std::vector<double> many = alibi_slopes(71);
  ASSERT_EQ(many.size(), 71u);
  EXPECT_NEAR(many[0], 0.9170040432046712, 1e-14);
  EXPECT_NEAR(many[63], 0.00390625, 1e-17);
  EXPECT_NEAR(many[68], 0.6771277734684467, 1e-14);
  EXPECT_NEAR(many[70], 0.5693943173783462, 1e-14);
}

/// As ALiBi's authors wrote it: a geometric series for a power of two; otherwise that of the one below, and every other
/// slope of the one above.
std::vector<double> slopes_of_the_authors(int64_t heads) {
  const double exponent = std::log2(static_cast<double>(heads));
  if (exponent == std::floor(exponent)) {
    const double start = std::pow(2, -std::pow(2, -(exponent - 3)));
    std::vector<double> out;
    for (int64_t i = 0; i < heads; ++i) out.push_back(start * std::pow(start, static_cast<double>(i)));
    return out;
  }
  const auto below = static_cast<int64_t>(std::pow(2, std::floor(exponent)));
  std::vector<double> out = slopes_of_the_authors(below);
  const std::vector<double> above = slopes_of_the_authors(2 * below);
  for (int64_t i = 0; i < heads - below; ++i) out.push_back(above[static_cast<size_t>(2 * i)]);
  return out;
}

TEST(ArchAlibi, EverySlopeIsTheAuthors) {
  for (const int64_t heads : {1, 2, 3, 8, 12, 16, 32, 71, 112, 128}) {
    const std::vector<double> found = alibi_slopes(heads), expected = slopes_of_the_authors(heads);
    ASSERT_EQ(found.size(), expected.size());
    for (size_t h = 0; h < found.size(); ++h) EXPECT_NEAR(found[h] / expected[h], 1, 1e-12) << h << " of " << heads;
  }
}

TEST(ArchAlibi, FalconTakesThemForItsHeadsAndDividesByTheRootOfAHeadsSize) {
  for (const int64_t heads : {8, 12, 16, 32, 71}) {
    const Json config = {{"model_type", "falcon"}, {"hidden_size", heads * 64}, {"num_attention_heads", heads},
                         {"num_hidden_layers", 1}, {"vocab_size", 50},          {"alibi", true}};
    const Position position = arch_test::load(config).position;
    EXPECT_THAT(position.alibi_slopes, testing::Pointwise(testing::DoubleNear(1e-12), slopes_of_the_authors(heads)));
    EXPECT_DOUBLE_EQ(position.alibi_scale, 0.125);
  }
}

TEST(ArchAlibi, SenselessCountsAreRefused) {
  EXPECT_THAT(error_of([] { alibi_slopes(0); }), HasSubstr("got 0"));
  EXPECT_THAT(error_of([] { alibi_slopes(-8); }), HasSubstr("got -8"));
  EXPECT_THAT(error_of([] { alibi_slopes(std::numeric_limits<int64_t>::max()); }), HasSubstr("alibi needs"));
}

}  // namespace
}  // namespace headscope
