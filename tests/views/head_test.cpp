#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/views/view_check.h"

namespace headscope {
namespace {

using testing::HasSubstr;

/// Layer 1, head 3 of small_atlas(): reads KV head 1 with head 2.
HeadData small_head() {
  HeadData data = head_data(small_atlas(), *sample::sharing_data({2, 4, 2, 3, 1}).architecture, 1, 3);
  data.next = {{" big", 0.5, NAN}, {" dog", 0.25, NAN}, {"\n", 0.001, NAN}};
  return data;
}

/// Centre of the marker or tick of a role within a metric's region, or -1.
double mark_x(const Figure& figure, const std::string& id, ColourRole role, double width) {
  const Box region = hit_box(figure, id);
  for (const Primitive& p : figure.primitives) {
    const auto* rect = std::get_if<RectMark>(&p.shape);
    if (rect == nullptr || !rect->fill || rect->fill->role != role || rect->box.width != width) continue;
    if (region.contains({rect->box.x, rect->box.y})) return rect->box.x + width / 2;
  }
  return -1;
}

TEST(EvenAttention, IsTheMeanOverUniformRows) {
  // Rows 1 to 3 of four tokens see 2, 3 and 4 keys.
  const HeadNumbers even = even_attention(4, 0);
  EXPECT_NEAR(even.entropy_nats, (std::log(2.0) + std::log(3.0) + std::log(4.0)) / 3, 1e-12);
  EXPECT_NEAR(even.distance_tokens, (0.5 + 1 + 1.5) / 3, 1e-12);
  EXPECT_NEAR(even.max, (1 / 2.0 + 1 / 3.0 + 1 / 4.0) / 3, 1e-12);
  EXPECT_NEAR(even.sink, even.max, 1e-12);
  EXPECT_NEAR(even.window, 1, 1e-12);
  const HeadNumbers windowed = even_attention(4, 2);  // 2 keys each; the first token is seen by row 1 alone
  EXPECT_NEAR(windowed.entropy_nats, std::log(2.0), 1e-12);
  EXPECT_NEAR(windowed.distance_tokens, 0.5, 1e-12);
  EXPECT_NEAR(windowed.max, 0.5, 1e-12);
  EXPECT_NEAR(windowed.sink, 0.5 / 3, 1e-12);
}

/// Against weights that are written out and summed as the definitions say.
TEST(EvenAttention, AgreesWithRowsThatAreWrittenOut) {
  for (const int64_t window : {0, 1, 7, 16, 40, 100}) {
    constexpr int64_t n = 60;
    HeadNumbers sum{0, 0, 0, 0, 0};
    for (int64_t i = 1; i < n; ++i) {
      std::vector<double> row(n);
      double all = 0;
      for (int64_t j = 0; j <= i; ++j) all += row[static_cast<size_t>(j)] = window == 0 || j > i - window ? 1 : 0;
      double most = 0;
      for (int64_t j = 0; j <= i; ++j) {
        const double p = row[static_cast<size_t>(j)] / all;
        if (p > 0) sum.entropy_nats -= p * std::log(p) / (n - 1);
        sum.distance_tokens += p * static_cast<double>(i - j) / (n - 1);
        most = std::max(most, p);
        if (j > i - 16) sum.window += p / (n - 1);
      }
      sum.max += most / (n - 1);
      sum.sink += row[0] / all / (n - 1);
    }
    const HeadNumbers even = even_attention(n, window);
    for (double HeadNumbers::*value : {&HeadNumbers::entropy_nats, &HeadNumbers::distance_tokens, &HeadNumbers::max,
                                       &HeadNumbers::sink, &HeadNumbers::window}) {
      EXPECT_NEAR(even.*value, sum.*value, 1e-12) << "window " << window;
    }
  }
}

TEST(EvenAttention, OfOneTokenIsThatRow) {
  const HeadNumbers even = even_attention(1, 0);
  EXPECT_EQ(even.entropy_nats, 0);
  EXPECT_EQ(even.distance_tokens, 0);
  EXPECT_EQ(even.max, 1);
  EXPECT_EQ(even.sink, 1);
  EXPECT_TRUE(std::isnan(even_attention(0, 0).max));
}

TEST(Head, TakesItsNumbersFromTheAtlas) {
  const HeadData data = small_head();
  EXPECT_EQ(data.kv_head, 1);
  EXPECT_EQ(data.group_size, 2);
  EXPECT_EQ(data.kv_owner, 1);
  EXPECT_DOUBLE_EQ(data.numbers.entropy_nats, 0.7);
  EXPECT_DOUBLE_EQ(data.numbers.distance_tokens, 7);
  EXPECT_DOUBLE_EQ(data.numbers.sink, 1 - 0.7);
  EXPECT_TRUE(std::isnan(data.numbers.window));
  EXPECT_EQ(data.others->size(), 8u);
  EXPECT_EQ(data.map.at(2, 2), 0.7f);
  Architecture windowed = *sample::sharing_data({2, 4, 2, 3, 1}).architecture;
  windowed.layers[1].window = 2;
  EXPECT_NEAR(head_data(small_atlas(), windowed, 1, 3).even.entropy_nats, std::log(2.0), 1e-12);
  EXPECT_THAT(message_of([&] { head_data(small_atlas(), windowed, 2, 0); }), HasSubstr("no layer 2"));
  EXPECT_THAT(message_of([&] { head_data(small_atlas(), windowed, 1, 4); }), HasSubstr("no head 4 in layer 1"));
  EXPECT_THAT(message_of([&] { head_data(small_atlas(), windowed, 1, -1); }), HasSubstr("no head -1"));
}

TEST(Head, SaysWhatItReadsAndMeasures) {
  const Figure figure = head(small_head(), {}, {}, layout(272, 760));
  for (const char* part : {"Layer 1, head 3", "reads KV head 1 with head 2", "0.70 nats", "7.0 tokens",
                           "largest weight", "on the first token", "0.30", "grey: attending evenly; ticks: all heads",
                           "attention weight, logarithmic", "Next token", "\u00B7big", "0.25", "<.01"}) {
    EXPECT_TRUE(has_text(figure, part)) << part;
  }
  EXPECT_EQ(figure.title, "Layer 1, head 3");
  EXPECT_THAT(figure.sentence, HasSubstr("looks back 7.0 tokens on average, 0.8 if it attended evenly"));
  EXPECT_THAT(find_hit(figure, "head/distance")->hit->tooltip, HasSubstr("0 of 8 heads have more"));
  EXPECT_FALSE(has_text(figure, "nearest 16"));
  HeadData data = small_head();
  data.numbers.window = 0.71;
  EXPECT_TRUE(has_text(head(data, {}, {}, layout(272, 760)), "0.71"));
}

TEST(Head, SharingIsSaidForEveryKind) {
  HeadData data = small_head();
  const auto says = [&](const char* part) { return has_text(head(data, {}, {}, layout(400, 760)), part); };
  data.kv_owner = 0;
  EXPECT_TRUE(says("reads KV head 1 of layer 0 with head 2"));
  data.group_size = 1, data.kv_head = 3, data.kv_owner = 1;
  EXPECT_TRUE(says("reads KV head 3 alone"));
  data.group_size = 4, data.kv_head = 0;
  EXPECT_TRUE(says("reads KV head 0 with heads 0, 1, 2"));
  data.group_size = 8;
  EXPECT_TRUE(says("reads KV head 0 with 7 others"));
  data.latent = true;
  EXPECT_TRUE(says("reads the latent with 7 others"));
}

TEST(Head, MarkersStandWhereTheirNumbersAre) {
  const HeadData data = small_head();
  const Figure figure = head(data, {}, {}, layout(272, 760));
  const double left = padding, width = 272 - 2 * padding;
  EXPECT_NEAR(mark_x(figure, "head/entropy", ColourRole::model_a, 10), left + width * 0.7 / std::log(3.0), 1e-9);
  const double even = (std::log(2.0) + std::log(3.0)) / 2;
  EXPECT_NEAR(mark_x(figure, "head/entropy", ColourRole::dim, 4), left + width * even / std::log(3.0), 1e-9);
  EXPECT_NEAR(mark_x(figure, "head/max", ColourRole::model_a, 10), left + width * 0.5, 1e-9);
  EXPECT_NEAR(mark_x(figure, "head/max", ColourRole::dim, 4), left + width * 5 / 12, 1e-9);
}

TEST(Head, OtherHeadsAreTicks) {
  const auto ticks = [](const Figure& figure) {
    const Box region = hit_box(figure, "head/distance");
    std::vector<double> out;
    for (const Primitive& p : figure.primitives) {
      const auto* rect = std::get_if<RectMark>(&p.shape);
      if (rect != nullptr && rect->box.width == 1 && rect->box.height == 4 &&
          region.contains({rect->box.x, rect->box.y}))
        out.push_back(rect->box.x);
    }
    return out;
  };
  const std::vector<double> shown = ticks(head(small_head(), {}, {}, layout(272, 760)));
  ASSERT_EQ(shown.size(), 8u);  // distances 0 to 7 of at most 7
  for (size_t i = 0; i < 8; ++i) {
    const double at = std::floor(240.0 * static_cast<double>(i) / 7.0);
    EXPECT_EQ(shown[i], padding + std::min(239.0, at)) << i;
  }
  EXPECT_TRUE(ticks(head(small_head(), {true, false}, {}, layout(272, 760))).empty());
}

TEST(Head, TheCrosshairLiesInTheSelectedCell) {
  HeadData data = small_head();
  data.facts.tokens = 11;  // six cells of two tokens, the last one cut
  data.bin = 2;
  data.map = Grid::of(6, 6, std::vector<float>(36, 0.5f));
  const Figure figure = head(data, {}, {1, 3, 10, 3}, layout(272, 760));
  const Box map = hit_box(figure, "head/map");
  EXPECT_EQ(map.width, map.height);
  double row = -1, column = -1;
  for (const Primitive& p : figure.primitives) {
    const auto* rect = std::get_if<RectMark>(&p.shape);
    if (rect == nullptr || !rect->fill || rect->fill->role != ColourRole::selection) continue;
    if (rect->box.height == 1) row = (rect->box.y - map.y) / (map.height / 6);
    if (rect->box.width == 1) column = (rect->box.x - map.x) / (map.width / 6);
  }
  EXPECT_EQ(std::floor(row), 5);
  EXPECT_EQ(std::floor(column), 1);
}

TEST(Head, LinearColourEndsAtTheLargestWeightButTheFirst) {
  const auto scale = [](const Figure& figure) {
    return std::get<ImageMark>(find_hit(figure, "head/map")->shape).scale;
  };
  const ColourScale linear = scale(head(small_head(), {false, true}, {}, layout(272, 760)));
  EXPECT_FALSE(linear.logarithmic);
  EXPECT_FLOAT_EQ(static_cast<float>(linear.hi), 0.7f);
  const ColourScale logarithmic = scale(head(small_head(), {}, {}, layout(272, 760)));
  EXPECT_TRUE(logarithmic.logarithmic);
  EXPECT_DOUBLE_EQ(logarithmic.lo, 1.0 / 48);
}

TEST(Head, WhatHasNoRoomIsLeftOutFromTheBottom) {
  const auto shown = [](double height) {
    const Figure figure = head(small_head(), {}, {}, layout(272, height));
    std::vector<std::string> ids;
    for (const Primitive& p : figure.primitives) {
      if (p.hit) ids.push_back(p.hit->id);
    }
    return ids;
  };
  const std::vector<std::string> all = shown(760);
  ASSERT_EQ(all.size(), 8u);
  for (const double height : {700, 600, 560, 500, 450, 420, 380, 330}) {
    const std::vector<std::string> some = shown(height);
    ASSERT_LE(some.size(), all.size());
    EXPECT_TRUE(std::equal(some.begin(), some.end(), all.begin())) << height;
  }
  EXPECT_LT(shown(420).size(), 8u);
}

TEST(Head, NotNumbersAreSaidAndHaveNoMarker) {
  HeadData data = small_head();
  data.numbers.entropy_nats = NAN;
  data.map = Grid::of(2, 2, {1, 0, NAN, 1});
  data.facts.badges = {"head 1:3 zeroed"};
  const Figure figure = head(data, {}, {}, layout(272, 800));
  EXPECT_TRUE(has_text(figure, "NaN"));
  EXPECT_TRUE(has_text(figure, "1 value is not a number"));
  EXPECT_TRUE(has_text(figure, "head 1:3 zeroed"));
  EXPECT_EQ(mark_x(figure, "head/entropy", ColourRole::model_a, 10), -1);
  EXPECT_THAT(figure.sentence, HasSubstr("not finite"));
}

TEST(Head, TheTableHasValueUnitAndEvenAttention) {
  const Figure figure = head(small_head(), {}, {}, layout(272, 760));
  ASSERT_EQ(figure.table.rows, 4u);
  EXPECT_EQ(cell<std::string>(figure, "metric", 1), "distance");
  EXPECT_EQ(cell<std::string>(figure, "unit", 1), "tokens");
  EXPECT_DOUBLE_EQ(cell<double>(figure, "value", 1), 7);
  EXPECT_DOUBLE_EQ(cell<double>(figure, "even_attention", 1), 0.75);
  EXPECT_EQ(csv_text(figure.table).substr(0, 32), "metric,value,unit,even_attention");
}

TEST(Head, NextTokensAreComparedWithTheOtherHeadsOff) {
  HeadData data = small_head();
  data.next = {{" big", 0.5, 0.75}, {" dog", 0.25, 0.001}};
  const Figure figure = head(data, {}, {}, layout(272, 900));
  EXPECT_TRUE(has_text(figure, "before and now"));
  EXPECT_TRUE(has_text(figure, "0.75 \u2192 0.50"));
  EXPECT_TRUE(has_text(figure, "<.01 \u2192 0.25"));
  EXPECT_THAT(find_hit(figure, "head/next/0")->hit->tooltip, HasSubstr("before the heads were switched: 0.75"));
  data.next = {{" big", 0.5, NAN}};
  EXPECT_FALSE(has_text(head(data, {}, {}, layout(272, 900)), "before and now"));
}

TEST(Head, EmptyStatesSayWhatToDo) {
  HeadData data;
  EXPECT_TRUE(has_text(head(data, {}, {}, layout(272, 600)), "Open a model."));
  data.facts.model = "tiny";
  EXPECT_TRUE(has_text(head(data, {}, {}, layout(272, 600)), "Run a prompt."));
  data.facts.tokens = 3;
  data.next = {{" big", 0.5, NAN}};
  const Figure figure = head(data, {}, {}, layout(272, 600));
  EXPECT_TRUE(has_text(figure, "Choose a head in the atlas."));
  EXPECT_NE(find_hit(figure, "head/next/0"), nullptr);
  HeadData loading = small_head();
  loading.map = {};
  EXPECT_THAT(find_hit(head(loading, {}, {}, layout(272, 700)), "head/map")->hit->tooltip, HasSubstr("being computed"));
}

TEST(Head, ContradictionsAreRefused) {
  HeadData data = small_head();
  data.kv_head = 0;
  EXPECT_THAT(message_of([&] { head(data, {}, {}, layout(272, 600)); }), HasSubstr("cannot read KV head 0"));
  data = small_head();
  data.bin = 0;
  EXPECT_THAT(message_of([&] { head(data, {}, {}, layout(272, 600)); }), HasSubstr("cells of 0 tokens"));
}

TEST(HeadState, RoundTripsThroughJson) {
  const std::string text = R"({"log_colour":false,"others":false})";
  EXPECT_EQ(to_json(head_state(Json::parse(text))).dump(), text);
  EXPECT_THAT(message_of([] { head_state(Json::parse(R"({"peers":1})")); }), HasSubstr("\"peers\""));
}

}  // namespace
}  // namespace headscope
