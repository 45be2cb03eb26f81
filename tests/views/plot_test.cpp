#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/views/plot/legend.h"
#include "core/views/plot/pool.h"
#include "core/views/plot/ticks.h"
#include "core/views/plot/token_axis.h"

namespace headscope {
namespace {

using testing::ElementsAre;

std::vector<std::string> labels(const std::vector<Tick>& ticks) {
  std::vector<std::string> out;
  for (const Tick& tick : ticks) out.push_back(tick.label);
  return out;
}

TEST(Ticks, AreRoundAndHaveTheDecimalsTheyNeed) {
  EXPECT_THAT(labels(nice_ticks(0, 10, 6)), ElementsAre("0", "2", "4", "6", "8", "10"));
  EXPECT_THAT(labels(nice_ticks(0, 1, 3)), ElementsAre("0.0", "0.5", "1.0"));
  EXPECT_THAT(labels(nice_ticks(-0.3, 0.3, 4)), ElementsAre("-0.2", "0.0", "0.2"));
  EXPECT_THAT(labels(nice_ticks(3, 2047, 5)), ElementsAre("500", "1000", "1500", "2000"));
  EXPECT_THAT(labels(nice_ticks(0, 2, 9, 1)), ElementsAre("0", "1", "2"));
}

TEST(Ticks, NeverMoreThanAskedForAndInRange) {
  for (const double hi : {1e-6, 0.07, 1.0, 3.0, 60.0, 999.0, 1e9}) {
    for (int most = 1; most < 12; ++most) {
      const auto ticks = nice_ticks(0, hi, most);
      EXPECT_LE(static_cast<int>(ticks.size()), most) << hi;
      EXPECT_GE(ticks.size(), 1u) << hi;
      for (const Tick& tick : ticks) EXPECT_TRUE(tick.value >= 0 && tick.value <= hi * (1 + 1e-9)) << tick.value;
    }
  }
  EXPECT_TRUE(nice_ticks(1, 1, 5).empty());
  EXPECT_TRUE(nice_ticks(0, NAN, 5).empty());
  EXPECT_TRUE(nice_ticks(0, 1, 0).empty());
}

TEST(Ticks, OfBytesUseBinaryUnits) {
  EXPECT_THAT(labels(byte_ticks(76800, 5)), ElementsAre("0", "20 KiB", "40 KiB", "60 KiB"));
  EXPECT_DOUBLE_EQ(byte_ticks(76800, 5)[1].value, 20480);
  EXPECT_THAT(labels(byte_ticks(900, 3)), ElementsAre("0", "500 B"));
  EXPECT_THAT(labels(byte_ticks(2.5 * 1024 * 1024, 6)),
              ElementsAre("0", "0.5 MiB", "1.0 MiB", "1.5 MiB", "2.0 MiB", "2.5 MiB"));
}

TEST(Ticks, OfALogRangeAreItsEndsAndPowersOfTen) {
  EXPECT_THAT(labels(log_ticks(1.0 / 960, 1)), ElementsAre("0.00104", "0.01", "0.1", "1"));
  EXPECT_THAT(labels(log_ticks(0.01, 1)), ElementsAre("0.01", "0.1", "1"));
}

TEST(Ticks, ShortNumbers) {
  EXPECT_EQ(short_number(0), "0");
  EXPECT_EQ(short_number(1), "1");
  EXPECT_EQ(short_number(21.44), "21.4");
  EXPECT_EQ(short_number(0.0010417), "0.00104");
  EXPECT_EQ(short_number(1.0 / 32768), "3.05e-5");
  EXPECT_EQ(short_number(1.5e12), "1.50e+12");
  EXPECT_EQ(short_number(-0.5), "-0.5");
  EXPECT_EQ(short_number(12345), "12345");
  EXPECT_EQ(short_number(NAN), "NaN");
}

TEST(Ticks, ThinnedKeepsEveryKth) {
  const std::vector<double> centres{0, 10, 20, 30, 40, 50}, narrow(6, 6.0), wide(6, 15.0);
  EXPECT_THAT(thinned(centres, narrow, 4), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(thinned(centres, narrow, 5), ElementsAre(0, 2, 4));
  EXPECT_THAT(thinned(centres, wide, 6), ElementsAre(0, 5));
  EXPECT_THAT(thinned({}, {}, 1), ElementsAre());
}

TEST(Pool, KeepsTheLargestAndWeighsMeans) {
  const Grid grid = Grid::of(3, 3, {1, 2, 3, 4, 5, 6, 7, 8, 9});
  const Grid most = pooled(grid, 2, Pooling::max, 3, 3, 1);
  EXPECT_EQ(most.rows, 2);
  EXPECT_FLOAT_EQ(most.at(0, 0), 5);
  EXPECT_FLOAT_EQ(most.at(1, 1), 9);
  const Grid mean = pooled(grid, 2, Pooling::mean, 3, 3, 1);
  EXPECT_FLOAT_EQ(mean.at(0, 0), 3);
  EXPECT_FLOAT_EQ(mean.at(0, 1), 4.5);
  // Cells of 4 tokens, the last of 1: the cut cell counts a quarter.
  const Grid cut = pooled(Grid::of(1, 2, {1, 6}), 2, Pooling::mean, 1, 5, 4);
  EXPECT_FLOAT_EQ(cut.at(0, 0), (4 * 1 + 1 * 6) / 5.0f);
}

TEST(Pool, ANumberDoesNotHideWhatIsNone) {
  const Grid grid = Grid::of(2, 2, {NAN, 1, 1, 1});
  EXPECT_TRUE(std::isnan(pooled(grid, 2, Pooling::max, 2, 2, 1).at(0, 0)));
  EXPECT_TRUE(std::isnan(pooled(grid, 2, Pooling::mean, 2, 2, 1).at(0, 0)));
  EXPECT_EQ(count_invalid(grid), 1);
}

TEST(Pool, FactorLeavesAPixelForEachCell) {
  EXPECT_EQ(pool_factor(64, 64), 1);
  EXPECT_EQ(pool_factor(64, 63), 2);
  EXPECT_EQ(pool_factor(64, 16), 4);
  EXPECT_EQ(pool_factor(64, 0), 64);
}

std::vector<TextMark> texts(const Figure& figure) {
  std::vector<TextMark> out;
  for (const Primitive& p : figure.primitives) {
    if (const auto* text = std::get_if<TextMark>(&p.shape)) out.push_back(*text);
  }
  return out;
}

TEST(TokenAxis, NamesEveryTokenFrom11Px) {
  const TextMeasurer measurer;
  const std::vector<std::string> pieces{" a", "b\n", " c"};
  Figure figure;
  TokenAxis({0, 3, 11}, pieces, {}, 80, measurer).draw_left(figure, 100, 50);
  const auto marks = texts(figure);
  ASSERT_EQ(marks.size(), 3u);
  EXPECT_EQ(marks[0].text, "\u00B7a");
  EXPECT_EQ(marks[1].text, "b\u21B5");
  EXPECT_DOUBLE_EQ(marks[0].at.x, 94);
  EXPECT_DOUBLE_EQ(marks[1].at.y - marks[0].at.y, 11);
  const double middle = marks[0].at.y - (TextMeasurer::rise(marks[0].role) - TextMeasurer::drop(marks[0].role)) / 2;
  EXPECT_NEAR(middle, 50 + 5.5, 1e-9);
}

TEST(TokenAxis, BelowThatNumbersRoundPositionsAndTheSelected) {
  const TextMeasurer measurer;
  std::vector<std::string> pieces(60, "x");
  pieces[33] = " Lily";
  Figure figure;
  TokenAxis({0, 60, 5}, pieces, 33, 80, measurer).draw_left(figure, 100, 0);
  std::vector<std::string> found;
  for (const TextMark& mark : texts(figure)) found.push_back(mark.text);
  EXPECT_THAT(found, testing::UnorderedElementsAre("0 x", "5 x", "10 x", "15 x", "20 x", "25 x", "30 x",
                                                   "33 \u00B7Lily", "40 x", "45 x", "50 x", "55 x"));
}

TEST(TokenAxis, ShortensLongTokens) {
  const TextMeasurer measurer;
  const TokenAxis axis({0, 1, 20}, std::vector<std::string>{std::string(500, 'w')}, {}, 60, measurer);
  EXPECT_LE(axis.room(), 60 + 6);
}

TEST(TokenAxis, KnowsRightToLeftLetters) {
  EXPECT_TRUE(has_right_to_left("ab \u05E9"));
  EXPECT_TRUE(has_right_to_left("\u0645"));
  EXPECT_FALSE(has_right_to_left("abc \u4E2D \U0001F600"));
}

TEST(Legend, SaysScaleAndPooling) {
  EXPECT_EQ(scale_text({Ramp::attention, map_floor(60), 1, true}), "logarithmic, 0.00104 to 1");
  EXPECT_EQ(pooling_text(1, false), "one token a cell");
  EXPECT_EQ(pooling_text(8, false), "largest weight of 8 x 8 tokens a cell");
  EXPECT_EQ(pooling_text(8, true), "mean of 8 x 8 tokens a cell");
  EXPECT_DOUBLE_EQ(map_floor(60), 1.0 / 960);
  EXPECT_EQ(invalid_text(0), "");
  EXPECT_EQ(invalid_text(1), "; 1 value is not a number");
  EXPECT_EQ(weight_text(0.4118), "0.412");
  EXPECT_EQ(weight_text(0.00012), "0.00012");
}

}  // namespace
}  // namespace headscope
