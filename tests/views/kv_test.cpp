#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/views/view_check.h"

namespace headscope {
namespace {

using testing::HasSubstr;

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

TEST(Kv, LowFiguresAreStrips) {
  const Figure strip = kv(small_kv(), {}, {}, layout(1000, 140));
  for (const char* part : {"KV memory", "4,000 B used of 8,000 B allocated", "400 B per token = ...", "as MHA 8,000 B",
                           "as MQA 500 B", "prompt 6", "generated 4"}) {
    EXPECT_TRUE(has_text(strip, part)) << part;
  }
  EXPECT_FALSE(has_text(strip, "tiny"));
  EXPECT_GT(hit_box(strip, "kv/layer/0").x, 16 + 240);
  EXPECT_GT(hit_box(kv(small_kv(), {}, {}, layout(900, 140)), "kv/layer/0").width, 400);
  EXPECT_EQ(strip.table.rows, 2u);
  EXPECT_TRUE(has_text(kv(small_kv(), {}, {}, layout(1000, 200)), "tiny"));  // the full form has a heading
}

TEST(Kv, AWideStripHasABarForEachOwningLayer) {
  KvData data = small_kv();
  data.layers[0].allocated = 8000;
  data.layers[1] = {2, 300, 3000, 4000, 10};
  Selection selection;
  selection.layer = 2;
  const Figure strip = kv(data, {}, selection, layout(1400, 140));
  const Box first = hit_box(strip, "kv/bar/0"), second = hit_box(strip, "kv/bar/2"),
            chart = hit_box(strip, "kv/layer/0");
  EXPECT_LT(first.x, second.x);
  EXPECT_LE(second.right(), chart.x);
  const std::string tooltip = find_hit(strip, "kv/bar/2")->hit->tooltip;
  EXPECT_THAT(tooltip, HasSubstr("3,000 B used of 4,000 B allocated"));
  EXPECT_THAT(tooltip, HasSubstr("keeps the last 10 tokens"));
  // As high as what it allocates, filled as far as it is used; layer 0 allocates most.
  std::vector<double> heights;
  for (const Primitive& p : strip.primitives) {
    const auto* bar = std::get_if<RectMark>(&p.shape);
    if (bar && !p.hit && bar->box.x == second.x && bar->box.height > 2) heights.push_back(bar->box.height);
  }
  EXPECT_THAT(heights, testing::ElementsAre(testing::DoubleNear(first.height / 2, 1e-9),
                                            testing::DoubleNear(first.height * 3 / 8, 1e-9)));
  EXPECT_EQ(find_hit(kv(data, {}, {}, layout(800, 140)), "kv/bar/0"), nullptr);
  data.layers.assign(300, data.layers[1]);
  EXPECT_EQ(find_hit(kv(data, {}, {}, layout(1400, 140)), "kv/bar/2"), nullptr) << "too many for bars";
}

TEST(Kv, AStripKeepsTheEquationWholeAndTheTitleLast) {
  KvData data = sample::kv_data({});
  for (const double height : {100.0, 120.0, 140.0}) {
    const Figure strip = kv(data, {}, {}, layout(600, height));
    std::string all;
    for (const Primitive& p : strip.primitives) {
      if (const auto* text = std::get_if<TextMark>(&p.shape)) all += text->text + ' ';
    }
    EXPECT_THAT(all, HasSubstr(data.equation + " ")) << height;
    EXPECT_THAT(all, HasSubstr("as MHA")) << height;
    EXPECT_EQ(all.find("\u2026"), std::string::npos) << height;
    EXPECT_EQ(has_text(strip, "KV memory"), height > 100) << height;
  }
  data.layers[1].used += 256;
  EXPECT_TRUE(has_text(kv(data, {}, {}, layout(600, 100)), "the formula says"));
  EXPECT_THAT(find_hit(kv(data, {}, {}, layout(600, 100)), "kv/equation")->hit->tooltip, HasSubstr(data.equation));
}

size_t corners(const Figure& figure) {
  size_t count = 0;
  for (const Primitive& p : figure.primitives) {
    if (const auto* area = std::get_if<PolygonMark>(&p.shape)) count += area->points.size();
    if (const auto* line = std::get_if<PolylineMark>(&p.shape)) count += line->points.size();
  }
  return count;
}

TEST(Kv, LongRunsHaveFewCorners) {
  for (const double height : {140.0, 800.0}) {
    KvData data = sample::kv_data({32, 32, 8, 20000, 1});
    for (uint64_t t = 0; t < 20000; ++t) data.allocated_history.push_back((t + 1) * 16384);
    const Figure figure = kv(data, {}, {}, layout(1000, height));
    EXPECT_LE(figure.primitives.size(), 200u);
    EXPECT_LE(corners(figure), 33u * 6 + 2 * 1000);  // bands with a corner where the slope changes; the line, 2 a pixel
  }
}

TEST(Kv, AreasEndWhereBarsWould) {
  KvData data = sample::kv_data({2, 8, 4, 2000, 1});
  data.layers[1].window = 500;
  data.layers[1].used = 500 * data.layers[1].bytes_per_token;
  const Figure figure = kv(data, {}, {}, layout(1000, 500));
  const Box lower = hit_box(figure, "kv/layer/0"), upper = hit_box(figure, "kv/layer/1");
  std::vector<PolygonMark> areas;
  for (const Primitive& p : figure.primitives) {
    if (const auto* area = std::get_if<PolygonMark>(&p.shape)) areas.push_back(*area);
  }
  ASSERT_EQ(areas.size(), 3u);  // the ground and two layers
  const auto height_at = [&](const PolygonMark& area, double share) {
    double most = -1;
    for (size_t i = 0; i + 1 < area.points.size() / 2; ++i) {
      const Point a = area.points[i], b = area.points[i + 1];
      const double x = lower.x + share * lower.width;
      if (a.x <= x && x <= b.x) most = std::lerp(a.y, b.y, (x - a.x) / (b.x - a.x));
    }
    return lower.bottom() - most;
  };
  for (const double share : {0.1, 0.25, 0.5, 0.75, 0.999}) {
    EXPECT_NEAR(height_at(areas[1], share), share * lower.height, 1e-6) << share;
    const double window = std::min(1.0, share * 4) * upper.height;
    EXPECT_NEAR(height_at(areas[2], share), share * lower.height + window, 1e-6) << share;
  }
}

TEST(Kv, ContradictionsAreRefused) {
  KvData data = small_kv();
  data.prompt_tokens = 11;
  EXPECT_THAT(message_of([&] { kv(data, {}, {}, layout(800, 600)); }), HasSubstr("11 prompt tokens of 10"));
  data = small_kv();
  data.allocated_history = {1, 2};
  EXPECT_THAT(message_of([&] { kv(data, {}, {}, layout(800, 600)); }), HasSubstr("2 allocation sizes for 10 tokens"));
}

}  // namespace
}  // namespace headscope
