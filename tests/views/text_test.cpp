#include <gtest/gtest.h>

#include "core/views/figure.h"

namespace headscope {
namespace {

TEST(TextMeasurer, AddsAdvances) {
  const TextMeasurer measurer;
  // JetBrains Mono: each character is 0.6 em.
  EXPECT_NEAR(measurer.width("1.72 nats", TextRole::number_small), 9 * 0.6 * 11, 1e-9);
  EXPECT_NEAR(measurer.width("1.72 nats", TextRole::number), 9 * 0.6 * 13, 1e-9);
  EXPECT_EQ(measurer.width("", TextRole::text), 0);
  // Roboto Regular's space is 508 of 2048 units.
  EXPECT_NEAR(measurer.width(" ", TextRole::text), 508.0 / 2048 * 15, 1e-9);
  EXPECT_NEAR(measurer.width("ab", TextRole::text),
              measurer.width("a", TextRole::text) + measurer.width("b", TextRole::text), 1e-9);
}

TEST(TextMeasurer, FallsBackToDejaVu) {
  const TextMeasurer measurer;
  EXPECT_TRUE(measurer.has_glyph(0x21B5));  // return arrow: in neither Roboto nor JetBrains Mono
  EXPECT_TRUE(measurer.has_glyph(0x05D0));
  EXPECT_FALSE(measurer.has_glyph(0x4E2D));
  EXPECT_GT(measurer.width("\u21B5", TextRole::number), 5);
}

TEST(TextMeasurer, FittedNeverExceedsTheWidth) {
  const TextMeasurer measurer;
  const std::string text = "a long line of text, \u05E9\u05DC\u05D5\u05DD and more";
  for (double width = 0; width < 260; width += 3) {
    const std::string fitted = measurer.fitted(text, TextRole::text, width);
    EXPECT_LE(measurer.width(fitted, TextRole::text), width);
  }
  EXPECT_EQ(measurer.fitted(text, TextRole::text, 1000), text);
  EXPECT_EQ(measurer.fitted("abc", TextRole::text, 3), "");
  EXPECT_EQ(measurer.fitted("ab cdefgh", TextRole::number, 7.8 * 4), "ab\u2026");
}

TEST(TextMeasurer, WrapsAtSpaces) {
  const TextMeasurer measurer;
  const auto lines = measurer.wrapped("one two three four five", TextRole::number, 7.8 * 9 + 0.1, 2);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0], "one two");
  EXPECT_EQ(lines[1], "three fo\u2026");
  EXPECT_EQ(measurer.wrapped("short", TextRole::number, 500, 3).size(), 1u);
  EXPECT_TRUE(measurer.wrapped("", TextRole::number, 500, 3).empty());
}

TEST(TokenLabel, ShowsWhatIsInvisible) {
  const TextMeasurer measurer;
  EXPECT_EQ(token_label(" the", measurer), "\u00B7the");
  EXPECT_EQ(token_label("\n\t", measurer), "\u21B5\u21E5");
  EXPECT_EQ(token_label("", measurer), "\u2205");
  EXPECT_EQ(token_label(std::string("\0", 1), measurer), "U+0000");
  EXPECT_EQ(token_label("\x1b", measurer), "U+001B");
  EXPECT_EQ(token_label("\u200D", measurer), "U+200D");
  EXPECT_EQ(token_label("\u202E", measurer), "U+202E");
  EXPECT_EQ(token_label("\uFEFF", measurer), "U+FEFF");
  EXPECT_EQ(token_label("\u4E2D", measurer), "U+4E2D");
  EXPECT_EQ(token_label("\U0001F468", measurer), "U+1F468");
  EXPECT_EQ(token_label("<0xE2>", measurer), "<0xE2>");
  EXPECT_EQ(token_label("<|endoftext|>", measurer), "<|endoftext|>");
  EXPECT_EQ(token_label("\xE2\x82", measurer), "\uFFFD\uFFFD");
  EXPECT_EQ(token_label("\u05E9", measurer), "\u05E9");
}

TEST(Figure, BoundsOfTextFollowItsAnchor) {
  const TextMeasurer measurer;
  const double width = 3 * 0.6 * 13, rise = TextMeasurer::rise(TextRole::number);
  TextMark mark{{100, 50}, "abc", TextRole::number, {}};
  EXPECT_NEAR(bounds({mark, {}}, measurer).x, 100, 1e-9);
  EXPECT_NEAR(bounds({mark, {}}, measurer).y, 50 - rise, 1e-9);
  mark.anchor = Anchor::middle;
  EXPECT_NEAR(bounds({mark, {}}, measurer).x, 100 - width / 2, 1e-9);
  mark.anchor = Anchor::end;
  EXPECT_NEAR(bounds({mark, {}}, measurer).right(), 100, 1e-9);
  mark.upward = true;  // its end is at the top
  EXPECT_NEAR(bounds({mark, {}}, measurer).y, 50, 1e-9);
  EXPECT_NEAR(bounds({mark, {}}, measurer).bottom(), 50 + width, 1e-9);
  EXPECT_NEAR(bounds({mark, {}}, measurer).x, 100 - rise, 1e-9);
}

TEST(Figure, TheTopmostRegionIsHit) {
  const TextMeasurer measurer;
  Figure figure;
  figure.add(RectMark{{0, 0, 10, 10}, {}, {}}, {"below", ""});
  figure.add(RectMark{{5, 0, 10, 10}, {}, {}}, {"above", ""});
  figure.add(RectMark{{5, 0, 10, 10}, {}, {}});
  EXPECT_EQ(hit_at(figure, {2, 2}, measurer)->id, "below");
  EXPECT_EQ(hit_at(figure, {7, 2}, measurer)->id, "above");
  EXPECT_EQ(hit_at(figure, {15, 2}, measurer), nullptr);
  ASSERT_NE(find_hit(figure, "above"), nullptr);
  EXPECT_EQ(find_hit(figure, "nothing"), nullptr);
}

TEST(Figure, GridPartsShareTheirValues) {
  const Grid grid = Grid::of(3, 4, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11});
  const Grid part = grid.part(1, 2, 2, 2);
  EXPECT_EQ(part.at(0, 0), 6);
  EXPECT_EQ(part.at(1, 1), 11);
  EXPECT_EQ(part.values, grid.values);
  EXPECT_THROW(Grid::of(2, 2, {1}), std::exception);
}

}  // namespace
}  // namespace headscope
