#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/views/view_check.h"

namespace headscope {
namespace {

using testing::HasSubstr;

TEST(Map, CellsAreSquareAndBelongToTheirTokens) {
  const Figure figure = map(small_map(), {}, {}, layout(800, 600));
  const Box box = hit_box(figure, "map/cell");
  EXPECT_DOUBLE_EQ(box.width, box.height);
  EXPECT_EQ(std::fmod(box.width, 4), 0);
  const double pitch = box.width / 4;
  for (const auto& [name, index] : {std::pair{"\u00B7Lily", 1}, std::pair{"\u00B7dog", 3}}) {
    bool left = false, below = false;
    for (const Primitive& p : figure.primitives) {
      const auto* text = std::get_if<TextMark>(&p.shape);
      if (text == nullptr || text->text != name) continue;
      const Box letters = bounds(p, measurer());
      if (text->upward) {
        below |= std::abs(letters.x + letters.width / 2 - (box.x + (index + 0.5) * pitch)) < 0.01 &&
                 letters.y > box.bottom();
      } else {
        left |= std::abs(letters.y + letters.height / 2 - (box.y + (index + 0.5) * pitch)) < 0.01 &&
                letters.right() < box.x;
      }
    }
    EXPECT_TRUE(left && below) << name;
  }
}

TEST(Map, TheBrightestCellIsWhereTheLargestWeightIs) {
  MapData data = small_map();
  data.cells = Grid::of(4, 4, {0.2f, 0, 0, 0, 0.5f, 0.5f, 0, 0, 0.6f, 0.2f, 0.2f, 0, 0.05f, 0.8f, 0.1f, 0.05f});
  const Figure figure = map(data, {}, {}, layout(800, 600));
  const Raster raster = rasterise(figure, Theme::dark);
  const Box box = hit_box(figure, "map/cell");
  const double pitch = box.width / 4;
  double most = -1;
  Point at;
  for (double y = box.y; y < box.bottom(); ++y) {
    for (double x = box.x; x < box.right(); ++x) {
      const double l = lightness(raster.at(static_cast<int64_t>(x), static_cast<int64_t>(y)));
      if (l > most) most = l, at = {x, y};
    }
  }
  EXPECT_EQ(std::floor((at.x - box.x) / pitch), 1);
  EXPECT_EQ(std::floor((at.y - box.y) / pitch), 3);
  const CellColours colours({Ramp::attention, 1.0 / 64, 1, true}, Theme::dark);
  EXPECT_EQ(raster.at(static_cast<int64_t>(box.x + 1.5 * pitch), static_cast<int64_t>(box.y + 3.5 * pitch)),
            colours(0.8f));
  EXPECT_EQ(raster.at(static_cast<int64_t>(box.x + 3.5 * pitch), static_cast<int64_t>(box.y + 0.5 * pitch)),
            colours(0));
}

TEST(Map, SentenceSaysOnlyWhatTheDataSupport) {
  EXPECT_EQ(map(small_map(), {}, {}, layout(800, 600)).sentence,
            "Layer 2, head 5 looks 1.3 tokens back on average. The largest weight: \u201Cdog\u201D looks at "
            "\u201CLily\u201D with 0.800.");
  MapData part = small_map();
  part.row_begin = 2;
  part.cells = small_map().cells.part(2, 0, 2, 4);
  EXPECT_EQ(map(part, {}, {}, layout(800, 600)).sentence,
            "The largest weight shown: \u201Cdog\u201D looks at \u201CLily\u201D with 0.800.");
  MapData unnamed = small_map();
  unnamed.pieces = {};
  EXPECT_THAT(map(unnamed, {}, {}, layout(800, 600)).sentence, HasSubstr("token 3 looks at token 1 with 0.800"));
}

TEST(Map, HabitsAreNamed) {
  const auto sentence = [](std::vector<float> cells) {
    MapData data = small_map();
    data.cells = Grid::of(4, 4, std::move(cells));
    return map(data, {}, {}, layout(800, 600)).sentence;
  };
  EXPECT_THAT(sentence({1, 0, 0, 0, 0.9f, 0.1f, 0, 0, 0, 0.9f, 0.1f, 0, 0, 0, 0.9f, 0.1f}),
              HasSubstr("reads mostly the token before (90 % of its weight, 0.9 tokens back"));
  EXPECT_THAT(sentence({1, 0, 0, 0, 0.1f, 0.9f, 0, 0, 0, 0.1f, 0.9f, 0, 0, 0, 0.1f, 0.9f}),
              HasSubstr("reads mostly the token itself (90 %"));
  EXPECT_THAT(sentence({1, 0, 0, 0, 0.4f, 0.6f, 0, 0, 0.8f, 0, 0.2f, 0, 0.9f, 0, 0, 0.1f}),
              HasSubstr("rests mostly on the first token (70 % of its weight)"));
  // Rows that do not sum to 1 are no attention of all keys: no habit is claimed.
  EXPECT_THAT(sentence({1, 0, 0, 0, 0.5f, 0, 0, 0, 0, 0.5f, 0, 0, 0, 0, 0.5f, 0}),
              testing::StartsWith("The largest weight:"));
}

TEST(Map, TheZoomWindowCutsCellsAndTable) {
  MapState state;
  state.row_begin = 2, state.row_end = 4, state.key_begin = 1, state.key_end = 3;
  const Figure figure = map(small_map(), state, {}, layout(800, 600));
  EXPECT_EQ(figure.table.rows, 4u);
  EXPECT_EQ(cell<int64_t>(figure, "query", 2), 3);
  EXPECT_EQ(cell<int64_t>(figure, "key", 2), 1);
  EXPECT_EQ(cell<std::string>(figure, "key_token", 2), " Lily");
  EXPECT_FLOAT_EQ(static_cast<float>(cell<double>(figure, "weight", 2)), 0.8f);
  EXPECT_FALSE(has_text(figure, "<s>"));
  state.row_begin = 100, state.row_end = 5000;  // beyond the data
  EXPECT_EQ(map(small_map(), state, {}, layout(800, 600)).table.rows, 2u);
}

TEST(Map, CutLastCellsKeepTheirPlace) {
  MapData data = small_map();  // 5 tokens in cells of 2: the last cell is half as wide
  data.facts.tokens = data.row_end = data.key_end = 5;
  data.bin = 2;
  data.pieces = std::vector<std::string>{"<s>", " Lily", " saw", " dog", "!"};
  data.cells = Grid::of(3, 3, {0.02f, 0, 0, 0.02f, 0.02f, 0, 0.02f, 0.9f, 0.02f});
  const Figure figure = map(data, {}, {}, layout(800, 600));
  const Raster raster = rasterise(figure, Theme::dark);
  const Box box = hit_box(figure, "map/cell");
  const double pitch = box.width / 5;
  const CellColours colours({Ramp::attention, 1.0 / 80, 1, true}, Theme::dark);
  const auto at = [&](double query, double key) {
    return raster.at(static_cast<int64_t>(box.x + key * pitch), static_cast<int64_t>(box.y + query * pitch));
  };
  EXPECT_EQ(at(4.9, 2.1), colours(0.9f));
  EXPECT_EQ(at(4.1, 3.9), colours(0.9f));
  EXPECT_EQ(at(3.9, 2.1), colours(0.02f));
  EXPECT_EQ(at(4.1, 1.9), colours(0.02f));
  EXPECT_EQ(at(4.1, 4.1), colours(0.02f));
  EXPECT_THAT(figure.sentence, HasSubstr("The largest cell: queries 4 look at keys 2-3 with up to 0.900."));
  EXPECT_EQ(figure.table.columns[4].unit, "largest weight of 2 x 2 tokens a cell");
}

TEST(Map, SelectionIsMarked) {
  const Figure figure = map(small_map(), {}, {2, 5, 3, 1}, layout(800, 600));
  const Box box = hit_box(figure, "map/cell");
  const double pitch = box.width / 4;
  int lines = 0;
  for (const Primitive& p : figure.primitives) {
    const auto* rect = std::get_if<RectMark>(&p.shape);
    if (rect == nullptr || !rect->fill || rect->fill->role != ColourRole::selection) continue;
    ++lines;
    if (rect->box.height == 1) {
      EXPECT_DOUBLE_EQ(rect->box.y, box.y + std::floor(3.5 * pitch));
    }
    if (rect->box.width == 1) {
      EXPECT_DOUBLE_EQ(rect->box.x, box.x + std::floor(1.5 * pitch));
    }
  }
  EXPECT_EQ(lines, 2);
  EXPECT_TRUE(has_text(figure, "Selected"));
  const Figure outside = map(small_map(), {}, {2, 5, 77, -1}, layout(800, 600));
  EXPECT_FALSE(has_text(outside, "Selected"));
}

TEST(Map, LinearScaleEndsAtTheLargestWeight) {
  const Figure figure = map(small_map(), {false, 0, 0, 0, 0}, {}, layout(800, 600));
  for (const Primitive& p : figure.primitives) {
    if (const auto* image = std::get_if<ImageMark>(&p.shape)) {
      EXPECT_FALSE(image->scale.logarithmic);
      EXPECT_FLOAT_EQ(static_cast<float>(image->scale.hi), 0.8f);
    }
  }
  EXPECT_TRUE(has_text(figure, "attention weight, linear"));
}

TEST(Map, NumbersThatAreNoneAreSaidAndMarked) {
  MapData data = small_map();
  data.cells = Grid::of(4, 4, {1, 0, 0, 0, NAN, 0.5f, 0, 0, 0.6f, 0.2f, 0.2f, 0, 0.05f, 0.8f, 0.1f, 0.05f});
  data.row_entropy_nats = {0, NAN, 0.9f, 0.7f};
  const Figure figure = map(data, {}, {}, layout(900, 600));
  EXPECT_TRUE(has_text(figure, "1 value is not a number"));
  const Box box = hit_box(figure, "map/cell");
  const Raster raster = rasterise(figure, Theme::dark);
  EXPECT_EQ(raster.at(static_cast<int64_t>(box.x) + 5, static_cast<int64_t>(box.y + box.height * 0.375)),
            colour(ColourRole::invalid, Theme::dark));
  data.cells = Grid::of(4, 4, std::vector<float>(16, NAN));
  EXPECT_NO_THROW(rasterise(map(data, {}, {}, layout(900, 600)), Theme::light));
}

TEST(Map, ContradictionsAreRefused) {
  MapData data = small_map();
  data.row_end = 5;
  EXPECT_THAT(message_of([&] { map(data, {}, {}, layout(800, 600)); }), HasSubstr("4 x 4 cells of 1 tokens"));
  data = small_map();
  data.row_entropy_nats = {1};
  EXPECT_THAT(message_of([&] { map(data, {}, {}, layout(800, 600)); }), HasSubstr("1 row entropies for 4 queries"));
  data = small_map();
  data.bin = 0;
  EXPECT_THROW(map(data, {}, {}, layout(800, 600)), Error);
}

}  // namespace
}  // namespace headscope
