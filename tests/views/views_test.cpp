#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "core/base/error.h"
#include "core/views/views.h"
#include "core/views/write.h"
#include "tests/views/sample_data.h"

namespace headscope {
namespace {

using testing::HasSubstr;

const TextMeasurer& measurer() {
  static const TextMeasurer instance;
  return instance;
}

Layout layout(double width, double height, double scale = 1) { return {width, height, scale, measurer()}; }

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

Box hit_box(const Figure& figure, const std::string& id) {
  const Primitive* found = find_hit(figure, id);
  if (found == nullptr) {
    ADD_FAILURE() << "no region " << id;
    return {};
  }
  return bounds(*found, measurer());
}

bool has_text(const Figure& figure, std::string_view part) {
  for (const Primitive& p : figure.primitives) {
    const auto* text = std::get_if<TextMark>(&p.shape);
    if (text != nullptr && text->text.find(part) != std::string::npos) return true;
  }
  return false;
}

template <class T>
T cell(const Figure& figure, const std::string& column, size_t row) {
  for (const auto& c : figure.table.columns) {
    if (c.name == column) return std::get<T>(c.value(row));
  }
  ADD_FAILURE() << "no column " << column;
  return {};
}

/// Two layers of four heads in pairs, three tokens; the maps and metrics are made by hand.
AtlasData small_atlas() {
  AtlasData data;
  data.facts.model = "tiny";
  data.facts.variant = "GQA-2";
  data.facts.tokens = 3;
  for (int64_t l = 0; l < 2; ++l) {
    AtlasLayer layer{4, 2, l, {}};
    for (int64_t h = 0; h < 4; ++h) {
      const auto value = static_cast<double>(l * 4 + h);
      layer.heads.push_back(
          {Grid::of(3, 3, {1, 0, 0, 0.5f, 0.5f, 0, 0.1f, 0.2f, 0.7f}), value / 10, value, 1 - value / 10, 0.5});
    }
    data.layers.push_back(layer);
  }
  return data;
}

// --- atlas --------------------------------------------------------------------------------------------------

TEST(Atlas, HeadsStandInRowsAndGroups) {
  const Figure figure = atlas(small_atlas(), {}, {}, layout(1000, 600));
  const Box first = hit_box(figure, "atlas/0/0");
  EXPECT_DOUBLE_EQ(first.width, 96);
  EXPECT_DOUBLE_EQ(first.height, 96);
  for (int l = 0; l < 2; ++l) {
    for (int h = 0; h < 4; ++h) {
      const Box box = hit_box(figure, fmt::format("atlas/{}/{}", l, h));
      EXPECT_DOUBLE_EQ(box.x, first.x + h * 102 + (h / 2) * 8) << "gap 6, between groups 14";
      EXPECT_DOUBLE_EQ(box.y, first.y + l * 120);
      EXPECT_EQ(hit_at(figure, {box.x + 1, box.y + 1}, measurer())->id, fmt::format("atlas/{}/{}", l, h));
    }
  }
  const Box bracket = hit_box(figure, "atlas/kv/0/1");
  EXPECT_DOUBLE_EQ(bracket.x, hit_box(figure, "atlas/0/2").x);
  EXPECT_DOUBLE_EQ(bracket.right(), hit_box(figure, "atlas/0/3").right());
  EXPECT_LT(bracket.bottom(), first.y);
}

TEST(Atlas, TellsNumbersOfTheHead) {
  const Figure figure = atlas(small_atlas(), {}, {}, layout(1000, 600));
  EXPECT_EQ(find_hit(figure, "atlas/1/2")->hit->tooltip,
            "layer 1, head 2, reads KV head 1\nmean entropy 0.60 nats\nmean distance 6.0 tokens\nmean weight on the "
            "first token 0.40\nmean largest weight 0.50");
  EXPECT_TRUE(has_text(figure, "0.60 nats"));
  EXPECT_TRUE(has_text(figure, "KV 1"));
  EXPECT_EQ(figure.sentence,
            "2 layers x 4 query heads, in pairs that read the same KV head. Layer 1, head 3 looks back furthest: 7.0 "
            "tokens on average.");
  EXPECT_EQ(figure.table.rows, 8u);
  EXPECT_EQ(cell<int64_t>(figure, "layer", 6), 1);
  EXPECT_EQ(cell<int64_t>(figure, "head", 6), 2);
  EXPECT_EQ(cell<int64_t>(figure, "kv_head", 6), 1);
  EXPECT_DOUBLE_EQ(cell<double>(figure, "entropy", 6), 0.6);
  EXPECT_DOUBLE_EQ(cell<double>(figure, "distance", 6), 6);
  EXPECT_DOUBLE_EQ(cell<double>(figure, "sink", 6), 0.4);
  EXPECT_EQ(figure.table.columns[4].unit, "nats");
}

TEST(Atlas, TheMetricChoosesCaptionAndSentence) {
  const Figure distance = atlas(small_atlas(), {HeadMetric::distance, 0, 0}, {}, layout(1000, 600));
  EXPECT_TRUE(has_text(distance, "6.0 tokens"));
  const Figure sink = atlas(small_atlas(), {HeadMetric::sink, 0, 0}, {}, layout(1000, 600));
  EXPECT_TRUE(has_text(sink, "0.40"));
  EXPECT_THAT(sink.sentence, HasSubstr("Layer 0, head 0 rests most on the first token: 1.00 of its weight."));
  const Figure most = atlas(small_atlas(), {HeadMetric::max, 0, 0}, {}, layout(1000, 600));
  EXPECT_THAT(most.sentence, HasSubstr("Layer 0, head 0 is the most decided: largest weight 0.50"));
}

TEST(Atlas, TheBrightestPixelIsTheLargestWeight) {
  AtlasData data = small_atlas();
  std::vector<float> values(36, 0.01f);
  values[4 * 6 + 1] = 0.9f;
  data.facts.tokens = 6;
  data.layers[1].heads[2].map = Grid::of(6, 6, values);
  const Figure figure = atlas(data, {}, {}, layout(1000, 600));
  const Raster raster = rasterise(figure, Theme::dark);
  const Box box = hit_box(figure, "atlas/1/2");
  double most = -1;
  int64_t row = -1, col = -1;
  for (int64_t y = 0; y < 96; ++y) {
    for (int64_t x = 0; x < 96; ++x) {
      const double l = lightness(raster.at(static_cast<int64_t>(box.x) + x, static_cast<int64_t>(box.y) + y));
      if (l > most) most = l, row = y / 16, col = x / 16;
    }
  }
  EXPECT_EQ(row, 4);
  EXPECT_EQ(col, 1);
}

TEST(Atlas, OneScaleForAllMapsFromTheFloor) {
  const Figure figure = atlas(small_atlas(), {}, {}, layout(1000, 600));
  int maps = 0;
  for (const Primitive& p : figure.primitives) {
    const auto* image = std::get_if<ImageMark>(&p.shape);
    if (image == nullptr) continue;
    EXPECT_EQ(image->scale, (ColourScale{Ramp::attention, 1.0 / 48, 1, true}));
    ++maps;
  }
  EXPECT_EQ(maps, 9) << "eight heads and the legend";
  EXPECT_TRUE(has_text(figure, "attention weight, logarithmic, 0.0208 to 1, the same for all heads"));
  EXPECT_TRUE(has_text(figure, "one token a cell"));
}

TEST(Atlas, NoCellOfAMapIsLostWhenMapsAreSmall) {
  AtlasData data = sample::atlas_data({12, 12, 12, 60, 1});
  std::vector<float> values(64 * 64, 0);
  values[37 * 64 + 11] = 1;
  data.layers[3].heads[4].map = Grid::of(64, 64, values);
  const Figure figure = atlas(data, {}, {}, layout(900, 640));
  const Box box = hit_box(figure, "atlas/3/4");
  ASSERT_LT(box.width, 64);
  const Raster raster = rasterise(figure, Theme::dark);
  const Rgb brightest = ramp_colour(Ramp::attention, Theme::dark, 1);
  bool found = false;
  for (auto y = static_cast<int64_t>(box.y); y < static_cast<int64_t>(box.bottom()); ++y) {
    for (auto x = static_cast<int64_t>(box.x); x < static_cast<int64_t>(box.right()); ++x)
      found |= raster.at(x, y) == brightest;
  }
  EXPECT_TRUE(found);
}

TEST(Atlas, SmallCellsShowTheMetric) {
  const AtlasData data = sample::atlas_data({32, 32, 8, 60, 1});
  const Figure figure = atlas(data, {HeadMetric::distance, 0, 0}, {}, layout(1280, 800));
  const auto& image = std::get<ImageMark>(find_hit(figure, "atlas/7/9")->shape);
  EXPECT_EQ(image.grid.rows, 1);
  EXPECT_FLOAT_EQ(image.grid.at(0, 0), static_cast<float>(data.layers[7].heads[9].distance_tokens));
  EXPECT_LT(image.box.width, 24);
  EXPECT_FALSE(image.scale.logarithmic);
  EXPECT_TRUE(has_text(figure, "mean distance, tokens, linear"));
}

TEST(Atlas, WhatDoesNotFitIsScrolled) {
  const AtlasData data = sample::atlas_data({32, 32, 8, 30, 1});
  const Figure top = atlas(data, {}, {}, layout(640, 400));
  EXPECT_TRUE(has_text(top, "layers 0-7 of 32, heads 0-27 of 32 shown")) << "whole KV groups";
  EXPECT_EQ(find_hit(top, "atlas/8/0"), nullptr);
  const Figure end = atlas(data, {HeadMetric::entropy, 99, 30}, {}, layout(640, 400));
  EXPECT_TRUE(has_text(end, "layers 24-31 of 32"));
  EXPECT_NE(find_hit(end, "atlas/31/31"), nullptr);
  EXPECT_DOUBLE_EQ(hit_box(end, "atlas/24/31").y, hit_box(top, "atlas/0/0").y);
  EXPECT_EQ(top.table.rows, 1024u) << "the table has all heads";
}

TEST(Atlas, TheSelectedHeadHasAnOutline) {
  const Figure figure = atlas(small_atlas(), {}, {1, 2, {}, {}}, layout(1000, 600));
  const Box cell_box = hit_box(figure, "atlas/1/2");
  int outlines = 0;
  for (const Primitive& p : figure.primitives) {
    const auto* rect = std::get_if<RectMark>(&p.shape);
    if (rect == nullptr || !rect->stroke || rect->stroke->role != ColourRole::selection) continue;
    ++outlines;
    EXPECT_EQ(rect->stroke_width, 2);
    EXPECT_DOUBLE_EQ(rect->box.x, cell_box.x - 3);
    EXPECT_DOUBLE_EQ(rect->box.width, cell_box.width + 6);
  }
  EXPECT_EQ(outlines, 1);
  EXPECT_NO_THROW(atlas(small_atlas(), {}, {7, 70, {}, {}}, layout(1000, 600)));
}

TEST(Atlas, ReadersOfAnotherCacheAreMarked) {
  AtlasData data = small_atlas();
  data.layers[1].kv_owner = 0;
  const Figure figure = atlas(data, {}, {}, layout(1000, 600));
  EXPECT_TRUE(has_text(figure, "reads layer 0"));
  EXPECT_THAT(figure.sentence, HasSubstr("1 layer reads another layer's cache"));
  EXPECT_THAT(find_hit(figure, "atlas/1/0")->hit->tooltip, HasSubstr("reads KV head 0 of layer 0"));
  EXPECT_EQ(cell<int64_t>(figure, "kv_owner", 6), 0);
}

TEST(Atlas, LayersGroupedDifferentlyGetTheirOwnBrackets) {
  AtlasData data = small_atlas();
  data.layers[1].kv_heads = 1;
  const Figure figure = atlas(data, {}, {}, layout(1000, 600));
  EXPECT_NE(find_hit(figure, "atlas/kv/0/1"), nullptr);
  EXPECT_EQ(find_hit(figure, "atlas/kv/1/1"), nullptr);
  EXPECT_DOUBLE_EQ(hit_box(figure, "atlas/kv/1/0").right(), hit_box(figure, "atlas/1/3").right());
  EXPECT_THAT(figure.sentence, HasSubstr("2 layers, 8 query heads, grouped differently"));
}

TEST(Atlas, NumbersThatAreNoneAreSaidAndMarked) {
  AtlasData data = small_atlas();
  data.layers[0].heads[1].entropy_nats = NAN;
  data.layers[0].heads[1].distance_tokens = NAN;
  data.layers[0].heads[1].map = Grid::of(3, 3, {1, 0, 0, NAN, NAN, 0, 0, 0, 1});
  const Figure figure = atlas(data, {}, {}, layout(1000, 600));
  EXPECT_TRUE(has_text(figure, "2 values are not numbers"));
  EXPECT_TRUE(has_text(figure, "NaN"));
  const Raster raster = rasterise(figure, Theme::dark);
  const Box box = hit_box(figure, "atlas/0/1");
  EXPECT_EQ(raster.at(static_cast<int64_t>(box.x) + 16, static_cast<int64_t>(box.y) + 48),
            colour(ColourRole::invalid, Theme::dark));
}

TEST(Atlas, ContradictionsAreRefused) {
  AtlasData data = small_atlas();
  data.layers[1].kv_heads = 3;
  EXPECT_THAT(message_of([&] { atlas(data, {}, {}, layout(800, 600)); }), HasSubstr("layer 1"));
  data = small_atlas();
  data.layers[0].heads.pop_back();
  EXPECT_THAT(message_of([&] { atlas(data, {}, {}, layout(800, 600)); }), HasSubstr("numbers of 3 heads"));
  data = small_atlas();
  data.layers[0].kv_owner = 1;
  EXPECT_THAT(message_of([&] { atlas(data, {}, {}, layout(800, 600)); }), HasSubstr("does not come before"));
}

// --- map ----------------------------------------------------------------------------------------------------

/// Four tokens; query 3 looks at key 1 with 0.8.
MapData small_map() {
  MapData data;
  data.facts.model = "tiny";
  data.facts.tokens = 4;
  data.layer = 2;
  data.head = 5;
  data.kv_head = 2;
  data.group_size = 2;
  data.kv_owner = 2;
  data.row_end = data.key_end = 4;
  data.pieces = {"<s>", " Lily", " saw", " dog"};
  data.cells = Grid::of(4, 4, {1, 0, 0, 0, 0.5f, 0.5f, 0, 0, 0.6f, 0.3f, 0.1f, 0, 0.05f, 0.8f, 0.1f, 0.05f});
  return data;
}

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
  unnamed.pieces.clear();
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
  data.pieces.push_back("!");
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

// --- kv -----------------------------------------------------------------------------------------------------

/// Two owners of 100 and 300 bytes a token, ten tokens, six of them the prompt.
KvData small_kv() {
  KvData data;
  data.facts.model = "tiny";
  data.facts.tokens = 10;
  data.prompt_tokens = 6;
  data.equation = "400 B per token = ...";
  data.layers = {{0, 100, 1000, 2000, 0}, {2, 300, 3000, 6000, 0}};
  data.as_mha_bytes = 8000;
  data.as_mqa_bytes = 500;
  return data;
}

TEST(Kv, StepsAreStackedBytes) {
  const Figure figure = kv(small_kv(), {}, {}, layout(1000, 500));
  const Box first = hit_box(figure, "kv/layer/0"), second = hit_box(figure, "kv/layer/2");
  EXPECT_NEAR(second.height, 3 * first.height, 1e-9);
  EXPECT_NEAR(second.bottom(), first.y, 1e-9);
  // The bars of each layer, left to right, grow by the same height.
  std::vector<Box> bars;
  for (const Primitive& p : figure.primitives) {
    const auto* rect = std::get_if<RectMark>(&p.shape);
    if (rect != nullptr && rect->fill && rect->fill->role == ColourRole::model_a && !p.hit) bars.push_back(rect->box);
  }
  ASSERT_EQ(bars.size(), 20u);
  for (size_t t = 0; t < 10; ++t) {
    EXPECT_NEAR(bars[t].height, first.height * static_cast<double>(t + 1) / 10, 1e-9);
    EXPECT_NEAR(bars[10 + t].height, second.height * static_cast<double>(t + 1) / 10, 1e-9);
    EXPECT_NEAR(bars[10 + t].bottom(), bars[t].y, 1e-9);
    EXPECT_NEAR(bars[t].bottom(), first.bottom(), 1e-9);
  }
}

TEST(Kv, SaysUsedAllocatedEquationAndComparison) {
  const Figure figure = kv(small_kv(), {}, {}, layout(1000, 500));
  EXPECT_EQ(figure.sentence, "4,000 B used of 8,000 B allocated for 10 tokens in 2 layers.");
  for (const char* part :
       {"400 B per token", "as MHA 8,000 B", "as MQA 500 B", "computed for the same layers and tokens, not measured",
        "allocated 8,000 B", "prompt 6", "generated 4", "layer 2", "3,000 B"}) {
    EXPECT_TRUE(has_text(figure, part)) << part;
  }
  EXPECT_EQ(figure.table.rows, 2u);
  EXPECT_EQ(cell<int64_t>(figure, "layer", 1), 2);
  EXPECT_EQ(cell<int64_t>(figure, "used", 1), 3000);
  EXPECT_EQ(cell<int64_t>(figure, "allocated", 1), 6000);
  EXPECT_EQ(figure.table.columns[1].unit, "bytes");
}

TEST(Kv, TogglesHideWhatTheyName) {
  const Figure bare = kv(small_kv(), {false, false}, {}, layout(1000, 500));
  EXPECT_FALSE(has_text(bare, "allocated 8,000 B") && !has_text(bare, "used of"));
  for (const Primitive& p : bare.primitives) {
    const auto* text = std::get_if<TextMark>(&p.shape);
    if (text == nullptr) continue;
    EXPECT_FALSE(text->text.starts_with("allocated") || text->text.starts_with("as M")) << text->text;
  }
  // Without the line of allocated bytes the used ones fill the chart.
  const Figure full = kv(small_kv(), {}, {}, layout(1000, 500));
  EXPECT_GT(hit_box(bare, "kv/layer/2").height, 1.5 * hit_box(full, "kv/layer/2").height);
}

TEST(Kv, TheDividerStandsBetweenPromptAndGenerated) {
  const Figure figure = kv(small_kv(), {}, {}, layout(1000, 500));
  const Box chart = hit_box(figure, "kv/layer/0");
  const double expected = std::round(chart.x + chart.width * 0.6);
  bool found = false;
  for (const Primitive& p : figure.primitives) {
    const auto* rect = std::get_if<RectMark>(&p.shape);
    found |= rect != nullptr && rect->box.width == 1 && rect->box.x == expected && rect->box.height > chart.height;
  }
  EXPECT_TRUE(found);
}

TEST(Kv, WindowsStopGrowing) {
  KvData data = small_kv();
  data.layers[1].window = 4;
  data.layers[1].used = 1200;
  const Figure figure = kv(data, {}, {}, layout(1000, 500));
  const Box first = hit_box(figure, "kv/layer/0"), second = hit_box(figure, "kv/layer/2");
  EXPECT_NEAR(second.height, 1.2 * first.height, 1e-9);
  std::vector<Box> bars;
  for (const Primitive& p : figure.primitives) {
    const auto* rect = std::get_if<RectMark>(&p.shape);
    if (rect != nullptr && rect->fill && rect->fill->role == ColourRole::model_a && !p.hit) bars.push_back(rect->box);
  }
  EXPECT_NEAR(bars[13].height, second.height, 1e-9);
  EXPECT_NEAR(bars[19].height, second.height, 1e-9);
  EXPECT_FALSE(has_text(figure, "the formula says"));
}

TEST(Kv, DisagreementWithTheFormulaIsSaid) {
  KvData data = small_kv();
  data.layers[1].used = 6000;  // K and V of expanded heads, say
  const Figure figure = kv(data, {}, {}, layout(1000, 500));
  EXPECT_TRUE(has_text(figure, "layer 2 holds 6,000 B, the formula says 3,000 B"));
  // The last step is what was measured.
  EXPECT_NEAR(hit_box(figure, "kv/layer/2").height, 6 * hit_box(figure, "kv/layer/0").height, 1e-9);
}

TEST(Kv, ContradictionsAreRefused) {
  KvData data = small_kv();
  data.prompt_tokens = 11;
  EXPECT_THAT(message_of([&] { kv(data, {}, {}, layout(800, 600)); }), HasSubstr("11 prompt tokens of 10"));
  data = small_kv();
  data.allocated_history = {1, 2};
  EXPECT_THAT(message_of([&] { kv(data, {}, {}, layout(800, 600)); }), HasSubstr("2 allocation sizes for 10 tokens"));
}

// --- all views ----------------------------------------------------------------------------------------------

TEST(Views, AreListedWithTheirNames) {
  std::vector<std::string> names;
  for (const ViewInfo& view : views()) {
    names.emplace_back(view.name);
    EXPECT_FALSE(view.title.empty() || view.description.empty());
  }
  EXPECT_THAT(names, testing::ElementsAre("atlas", "map", "kv"));
}

TEST(Views, WithoutARunTheySayWhatToDo) {
  for (const Figure& figure :
       {atlas({}, {}, {}, layout(600, 400)), map({}, {}, {}, layout(600, 400)), kv({}, {}, {}, layout(600, 400))}) {
    EXPECT_TRUE(has_text(figure, "No model is open."));
    EXPECT_TRUE(has_text(figure, "Open a model."));
  }
  AtlasData opened;
  opened.facts.model = "tiny";
  EXPECT_TRUE(has_text(atlas(opened, {}, {}, layout(600, 400)), "Run a prompt."));
  MapData dropped = small_map();
  dropped.cells = {};
  EXPECT_TRUE(has_text(map(dropped, {}, {}, layout(600, 400)), "Layer 2, head 5 was not kept in this run."));
}

TEST(Views, BadgesAndNotesAreShown) {
  AtlasData data = small_atlas();
  data.facts.badges = {"head 0:1 zeroed"};
  data.facts.notes = {"built-in prompt"};
  const Figure figure = atlas(data, {}, {}, layout(1000, 600));
  EXPECT_TRUE(has_text(figure, "head 0:1 zeroed"));
  EXPECT_TRUE(has_text(figure, "built-in prompt"));
  EXPECT_TRUE(has_text(figure, "tiny"));
}

TEST(ViewState, RoundTripsThroughJson) {
  EXPECT_EQ(to_json(atlas_state(Json::parse(R"({"metric":"sink","first_layer":3,"first_head":4})"))).dump(),
            R"({"metric":"sink","first_layer":3,"first_head":4})");
  const std::string zoom = R"({"log_colour":false,"row_begin":1,"row_end":2,"key_begin":3,"key_end":4})";
  EXPECT_EQ(to_json(map_state(Json::parse(zoom))).dump(), zoom);
  EXPECT_EQ(to_json(kv_state(Json::parse(R"({"comparisons":false})"))).dump(),
            R"({"allocated":true,"comparisons":false})");
  EXPECT_EQ(to_json(atlas_state(Json::object())), to_json(AtlasState{}));
}

TEST(ViewState, WhatDoesNotFitIsNamed) {
  const auto atlas_message = [](const char* json) { return message_of([&] { atlas_state(Json::parse(json)); }); };
  EXPECT_THAT(atlas_message(R"({"zoom":1})"),
              testing::AllOf(HasSubstr("\"zoom\""), HasSubstr("first_layer"), HasSubstr("atlas")));
  EXPECT_THAT(atlas_message(R"({"metric":"size"})"),
              testing::AllOf(HasSubstr("'metric'"), HasSubstr("entropy, distance, sink, max"), HasSubstr("\"size\"")));
  EXPECT_THAT(atlas_message(R"({"metric":2})"), HasSubstr("'metric'"));
  EXPECT_THAT(atlas_message(R"({"first_layer":-1})"),
              testing::AllOf(HasSubstr("'first_layer'"), HasSubstr("at least 0"), HasSubstr("-1")));
  EXPECT_THAT(atlas_message(R"({"first_layer":1.5})"), HasSubstr("'first_layer'"));
  EXPECT_THAT(atlas_message(R"({"first_layer":18446744073709551615})"), HasSubstr("'first_layer'"));
  EXPECT_THAT(atlas_message("[]"), HasSubstr("must be a JSON object, found array"));
  EXPECT_THAT(message_of([] { map_state(Json::parse(R"({"log_colour":"yes"})")); }),
              testing::AllOf(HasSubstr("'log_colour'"), HasSubstr("true or false"), HasSubstr("map")));
  EXPECT_THAT(message_of([] { kv_state(Json::parse(R"({"allocated":null})")); }), HasSubstr("found null"));
}

}  // namespace
}  // namespace headscope
