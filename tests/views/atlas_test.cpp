#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/views/view_check.h"

namespace headscope {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

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

TEST(Atlas, ALatentIsNoKvHead) {
  AtlasData data = small_atlas();
  for (AtlasLayer& layer : data.layers) layer.kv_heads = 1, layer.latent = true;
  const Figure figure = atlas(data, {}, {}, layout(1000, 600));
  EXPECT_THAT(figure.sentence, StartsWith("2 layers x 4 query heads, all reading one latent."));
  EXPECT_THAT(find_hit(figure, "atlas/1/2")->hit->tooltip, StartsWith("layer 1, head 2, reads the latent\n"));
  EXPECT_EQ(find_hit(figure, "atlas/kv/0/0")->hit->tooltip, "the latent, read by 4 query heads");
  EXPECT_TRUE(has_text(figure, "latent"));
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

TEST(Atlas, AHeadThatIsOffIsCrossedOut) {
  AtlasData data = small_atlas();
  data.layers[1].heads[2].off = true;
  const Figure figure = atlas(data, {}, {}, layout(1000, 600));
  const Box cell_box = hit_box(figure, "atlas/1/2");
  int strokes = 0;
  for (const Primitive& p : figure.primitives) {
    const auto* line = std::get_if<LineMark>(&p.shape);
    if (line == nullptr || line->paint.role != ColourRole::warning) continue;
    ++strokes;
    EXPECT_TRUE(cell_box.grown(1).contains(line->from) && cell_box.grown(1).contains(line->to));
  }
  EXPECT_EQ(strokes, 2);
  EXPECT_THAT(find_hit(figure, "atlas/1/2")->hit->tooltip, HasSubstr("switched off"));
  EXPECT_EQ(find_hit(figure, "atlas/1/1")->hit->tooltip.find("switched off"), std::string::npos);
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

TEST(Atlas, KeptMapsGiveTheSameFigureAndAreNotPooledAgain) {
  AtlasData data = sample::atlas_data({4, 12, 12, 60, 1});
  const Layout small = layout(500, 500);
  PooledGrids kept;
  const auto grids = [&](PooledGrids* pool) {
    std::vector<const std::vector<float>*> out;
    for (const Primitive& p : atlas(data, {}, {}, small, pool).primitives) {
      const auto* image = std::get_if<ImageMark>(&p.shape);
      if (image != nullptr && p.hit) out.push_back(image->grid.values.get());
    }
    return out;
  };
  const auto first = grids(&kept), plain = grids(nullptr);
  ASSERT_EQ(first.size(), 48u);
  EXPECT_NE(first, plain) << "the maps must be pooled at this size for the test to say something";
  EXPECT_EQ(grids(&kept), first);
  EXPECT_EQ(kept.size(), 48u);
  EXPECT_EQ(png_bytes(rasterise(atlas(data, {}, {}, small, &kept), Theme::dark)),
            png_bytes(rasterise(atlas(data, {}, {}, small), Theme::dark)));
  // A new map is pooled, and the one it replaces forgotten at once.
  std::vector<float> changed(*data.layers[1].heads[2].map.values);
  changed[59 * 60] = NAN;
  data.layers[1].heads[2].map = Grid::of(60, 60, changed);
  EXPECT_NE(grids(&kept), first);
  EXPECT_EQ(kept.size(), 48u);
  EXPECT_TRUE(has_text(atlas(data, {}, {}, layout(700, 500), &kept), "1 value is not a number"));
}

}  // namespace
}  // namespace headscope
