#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/views/views.h"
#include "tests/views/view_check.h"

namespace headscope {
namespace {

using testing::HasSubstr;

TEST(Views, AreListedWithTheirNames) {
  std::vector<std::string> names;
  for (const ViewInfo& view : views()) {
    names.emplace_back(view.name);
    EXPECT_FALSE(view.title.empty() || view.description.empty());
  }
  EXPECT_THAT(names, testing::ElementsAre("atlas", "map", "kv", "head", "sharing", "tokens"));
  for (const ViewInfo& view : views())
    EXPECT_EQ(view.tab, view.name == "atlas" || view.name == "map" || view.name == "kv");
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

TEST(Figures, APartKeepsItsShapesAndRegions) {
  Figure part, whole;
  part.add(TextMark{{10, 20}, "ab", TextRole::text, {}});
  part.add(LineMark{{1, 2}, {3, 4}, {}});
  part.add(RectMark{{5, 6, 7, 8}, Paint{}, {}}, {"part/0", "tooltip"});
  part.add(PolylineMark{{{1, 1}, {2, 3}}, {}});
  part.add(PolygonMark{{{1, 1}, {2, 3}, {4, 0}}, {}});
  part.add(ImageMark{{0, 40, 50, 50}, Grid::of(1, 1, {1}), {}});
  whole.add(RectMark{{0, 0, 1, 1}, {}, {}});
  add_figure(whole, part, {100, 30});
  ASSERT_EQ(whole.primitives.size(), 7u);
  for (size_t i = 0; i < 6; ++i) {
    const Box was = bounds(part.primitives[i], measurer()), is = bounds(whole.primitives[i + 1], measurer());
    EXPECT_NEAR(is.x, was.x + 100, 1e-9) << i;
    EXPECT_NEAR(is.y, was.y + 30, 1e-9) << i;
    EXPECT_NEAR(is.width, was.width, 1e-9) << i;
    EXPECT_NEAR(is.height, was.height, 1e-9) << i;
  }
  EXPECT_EQ(find_hit(whole, "part/0")->hit->tooltip, "tooltip");
}

}  // namespace
}  // namespace headscope
