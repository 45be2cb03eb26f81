#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/views/utf8.h"
#include "core/views/write.h"
#include "tests/views/sample_data.h"

/// What must hold in every figure, whatever its size and data: texts stay inside, apart from each other and off
/// the maps, and nothing is drawn outside the picture.
namespace headscope {
namespace {

struct Size {
  double width, height, scale;
};
constexpr Size sizes[] = {{640, 400, 1},  {640, 400, 2}, {1280, 800, 1}, {1280, 800, 2}, {1920, 1080, 1},
                          {1276, 140, 1}, {480, 320, 1}, {300, 700, 1},  {272, 600, 1},  {600, 100, 1},
                          {240, 160, 1},  {120, 90, 1},  {16, 16, 1},    {2000, 40, 1},  {60, 2000, 1}};

const std::vector<sample::Shape>& shapes() {
  static const std::vector<sample::Shape> list = [] {
    std::vector<sample::Shape> out;
    for (const int64_t tokens : {1, 2, 60, 2048}) {
      out.push_back({5, 8, 4, tokens, 1});
      out.push_back({12, 12, 12, tokens, 1});
      out.push_back({32, 32, 8, tokens, 1});
      out.push_back({1, 1, 1, tokens, 1});
      out.push_back({12, 8, 1, tokens, 4});
    }
    return out;
  }();
  return list;
}

bool overlap(const Box& a, const Box& b) {
  constexpr double touch = 0.01;
  return a.x + touch < b.right() && b.x + touch < a.right() && a.y + touch < b.bottom() && b.y + touch < a.bottom();
}

bool inside(const Box& box, const Figure& figure, double margin) {
  return box.x >= -margin && box.y >= -margin && box.right() <= figure.width + margin &&
         box.bottom() <= figure.height + margin;
}

/// The first fault of the figure, or empty.
std::string fault(const Figure& figure, const TextMeasurer& measurer) {
  struct Placed {
    Box box;
    std::string text;
  };
  std::vector<Placed> texts;
  std::vector<Box> images;
  for (const Primitive& p : figure.primitives) {
    const Box box = bounds(p, measurer);
    if (!std::isfinite(box.x + box.y + box.width + box.height)) return "a place that is not a number";
    if (const auto* text = std::get_if<TextMark>(&p.shape)) {
      if (text->text.empty()) return "an empty text";
      for (size_t i = 0; i < text->text.size();) {
        const char32_t c = next_code_point(text->text, i);
        if (c < 0x20 || !measurer.has_glyph(c)) return "a text that cannot be drawn: " + text->text;
      }
      if (!inside(box, figure, 0)) return "a text leaves the picture: " + text->text;
      texts.push_back({box, text->text});
      continue;
    }
    if (!inside(box, figure, 0.6))
      return fmt::format("a shape leaves the picture: {} {} {} {}", box.x, box.y, box.width, box.height);
    if (std::holds_alternative<ImageMark>(p.shape)) images.push_back(box);
  }
  for (size_t i = 0; i < texts.size(); ++i) {
    for (size_t k = 0; k < i; ++k) {
      if (overlap(texts[i].box, texts[k].box))
        return fmt::format("two texts overlap: '{}' and '{}'", texts[i].text, texts[k].text);
    }
    for (const Box& image : images) {
      if (overlap(texts[i].box, image)) return fmt::format("a text lies on an image: '{}'", texts[i].text);
    }
  }
  return "";
}

class Layouts : public testing::TestWithParam<size_t> {
 protected:
  Size size() const { return sizes[GetParam()]; }
  Layout layout() const { return {size().width, size().height, size().scale, measurer_}; }
  void expect_good(const Figure& figure, const std::string& what) {
    EXPECT_EQ(fault(figure, measurer_), "")
        << what << " at " << size().width << "x" << size().height << " @" << size().scale;
    EXPECT_EQ(figure.width, size().width);
    EXPECT_EQ(figure.height, size().height);
  }
  static std::string name(const sample::Shape& s) {
    return fmt::format("{}x{}/{} of {} tokens", s.layers, s.q_heads, s.kv_heads, s.tokens);
  }

  TextMeasurer measurer_;
};

/// Atlas data of a shape; maps of long prompts are those of a short one, which changes no place.
AtlasData quick_atlas(sample::Shape shape) {
  const int64_t tokens = shape.tokens;
  shape.tokens = std::min<int64_t>(tokens, shape.layers > 8 ? 8 : 60);
  AtlasData data = sample::atlas_data(shape);
  data.facts.tokens = tokens;
  data.bin = std::max<int64_t>(1, tokens / shape.tokens);
  return data;
}

/// The sizes in which a map and its legend fit.
class RoomyLayouts : public Layouts {};

TEST_P(RoomyLayouts, MapsAlwaysHaveTheirLegend) {
  const auto legend = [](const Figure& figure) {
    for (const Primitive& p : figure.primitives) {
      const auto* text = std::get_if<TextMark>(&p.shape);
      if (text != nullptr && (text->text.starts_with("attention weight") || text->text.starts_with("mean entropy")))
        return true;
    }
    return false;
  };
  for (const sample::Shape& shape : shapes())
    EXPECT_TRUE(legend(atlas(quick_atlas(shape), {}, {}, layout()))) << name(shape);
  EXPECT_TRUE(legend(head(sample::head_data(quick_atlas({}), {}, 2, 5), {}, {}, layout())));
  for (const int64_t tokens : {2, 60, 2048}) {
    EXPECT_TRUE(legend(map(sample::map_data({5, 8, 4, tokens, 1}, 2, 5), {}, {}, layout()))) << tokens;
  }
}

TEST_P(Layouts, Atlas) {
  for (const sample::Shape& shape : shapes()) {
    AtlasData data = quick_atlas(shape);
    for (const HeadMetric metric : {HeadMetric::entropy, HeadMetric::distance}) {
      expect_good(atlas(data, {metric, 0, 0}, {0, 0, {}, {}}, layout()), "atlas " + name(shape));
    }
    data.facts.badges = {"head 0:0 zeroed", "renormalised without the first 4 keys",
                         "every third head replaced by its mean"};
    data.facts.notes = {};
    data.layers[0].heads[0].entropy_nats = NAN;
    expect_good(atlas(data, {HeadMetric::entropy, 7, 9}, {0, 0, {}, {}}, layout()), "atlas with badges " + name(shape));
  }
}

TEST_P(Layouts, Map) {
  for (const int64_t tokens : {1, 2, 12, 60, 2048}) {
    for (const bool hard : {false, true}) {
      MapData data = sample::map_data({5, 8, 4, tokens, 2}, 3, 5);
      if (hard) data.pieces = sample::hard_pieces(tokens);
      const std::string what = fmt::format("map of {} tokens{}", tokens, hard ? ", hard pieces" : "");
      expect_good(map(data, {}, {}, layout()), what);
      expect_good(map(data, {false, 0, 0, 0, 0}, {3, 5, tokens - 1, tokens / 3}, layout()), what + ", selected");
      expect_good(map(data, {true, tokens / 2, tokens / 2 + 20, 0, 9}, {3, 5, tokens - 2, 4}, layout()),
                  what + ", zoomed");
      data.facts.badges = {"head 3:5 zeroed"};
      data.row_entropy_nats.clear();
      expect_good(map(data, {true, 0, 0, tokens / 2, tokens}, {}, layout()), what + ", tall");
    }
  }
}

TEST_P(Layouts, Kv) {
  for (const sample::Shape& shape : shapes()) {
    KvData data = sample::kv_data(shape);
    expect_good(kv(data, {}, {}, layout()), "kv " + name(shape));
    for (int64_t t = 0; t < shape.tokens; ++t)
      data.allocated_history.push_back(static_cast<uint64_t>((t / 16 + 1) * 40000));
    data.layers[0].used += 1;
    data.prompt_tokens = shape.tokens > 1 ? shape.tokens - 1 : 0;
    expect_good(kv(data, {true, false}, {0, {}, {}, {}}, layout()), "kv with history " + name(shape));
    data.prompt_tokens = shape.tokens > 1 ? 1 : 0;
    expect_good(kv(data, {false, true}, {}, layout()), "kv without the line " + name(shape));
  }
}

TEST_P(Layouts, Head) {
  for (const sample::Shape& shape : shapes()) {
    const AtlasData from = quick_atlas(shape);
    HeadData data = sample::head_data(from, shape, shape.layers - 1, shape.q_heads / 2);
    expect_good(head(data, {}, {0, 0, 0, 0}, layout()), "head " + name(shape));
    data.numbers = {NAN, INFINITY, 1, 0, 0.5};
    data.facts.badges = {"head 0:0 zeroed", "renormalised without the first 4 keys"};
    for (NextToken& next : data.next) next.piece = sample::hard_pieces(1).front();
    expect_good(head(data, {false, false}, {0, 0, shape.tokens, -1}, layout()), "head with NaN " + name(shape));
    data.map = {};
    data.next.clear();
    data.others.reset();
    expect_good(head(data, {}, {}, layout()), "head, loading " + name(shape));
    data.layer = -1;
    data.next = {{" big", 0.5}, {" dog", 0.25}};
    expect_good(head(data, {}, {}, layout()), "no head " + name(shape));
  }
}

TEST_P(Layouts, Sharing) {
  for (const sample::Shape& shape : shapes()) {
    const SharingData data = sample::sharing_data(shape);
    expect_good(sharing(data, {0, 0, {}, {}}, layout()), "sharing " + name(shape));
    expect_good(sharing(data, {shape.layers - 1, shape.q_heads - 1, {}, {}}, layout()), "sharing, last " + name(shape));
  }
  for (const sample::Shape& shape : {sample::Shape{61, 128, 1, 1, 1}, sample::Shape{61, 128, 128, 1, 1},
                                     sample::Shape{1024, 4, 2, 1, 3}, sample::Shape{3, 4096, 4096, 1, 1}}) {
    expect_good(sharing(sample::sharing_data(shape), {2, 3, {}, {}}, layout()), "sharing " + name(shape));
  }
  for (const Stored stored : {Stored::keys_and_values, Stored::values_only, Stored::keys_only, Stored::latent}) {
    for (const sample::Shape& shape : {sample::Shape{5, 8, 1, 1, 1}, sample::Shape{26, 12, 1, 1, 2}}) {
      for (const bool rotated : {false, true}) {
        const SharingData data = sample::sharing_kind(shape, stored, rotated, {123'456, 0, 7});
        expect_good(sharing(data, {2, 3, {}, {}}, layout()), fmt::format("stored {} ", static_cast<int>(stored)));
      }
    }
  }
}

TEST_P(Layouts, Tokens) {
  for (const int64_t count : {1, 2, 60, 20000}) {
    for (const bool hard : {false, true}) {
      const auto pieces = hard ? sample::hard_pieces(count) : sample::story(count);
      TokensData data = sample::tokens_data(pieces, size().width - 2 * tokens_margin, measurer_);
      const std::string what = fmt::format("{} tokens{}", count, hard ? ", hard pieces" : "");
      expect_good(tokens(data, {}, {2, 5, 0, 1}, layout()), what);
      data.weights.assign(static_cast<size_t>(count), NAN);
      expect_good(tokens(data, {count / 3}, {2, 5, count / 2, 0}, layout()), what + ", scrolled");
    }
  }
}

TEST_P(Layouts, KvCompare) {
  for (const size_t models : {1, 2, 5, 12}) {
    KvCompareData data = sample::kv_compare_data(models);
    for (const KvPlot plot : {KvPlot::batch, KvPlot::context, KvPlot::token}) {
      const std::string what = fmt::format("comparison {} of {} models", static_cast<int>(plot), models);
      expect_good(kv_compare(data, plot, layout()), what);
    }
    data.subjects.front().model = std::string(300, 'm');
    expect_good(kv_compare(data, KvPlot::token, layout()), "a long name");
    data.batches = {1, int64_t{1} << 30};
    data.contexts = {7};
    expect_good(kv_compare(data, KvPlot::batch, layout()), "a long name over batch");
    data.batches = {1};
    data.contexts = {7, 123'456'789, 1'000'000'000};
    expect_good(kv_compare(data, KvPlot::context, layout()), "a long name over context");
  }
}

TEST_P(Layouts, KvSpeed) {
  for (const size_t models : {1, 2, 5, 12}) {
    KvSpeedData data = sample::kv_speed_data(models);
    expect_good(kv_speed(data, layout()), fmt::format("speed of {} models", models));
    data.subjects.front().model = std::string(300, 'm');
    for (KvSpeedRow& row : data.rows) row.decode *= 1e9;
    expect_good(kv_speed(data, layout()), "speed with a long name and long numbers");
  }
}

/// Counterfactuals say so on their labels or, where there are no labels, in the note, whatever the size.
TEST_P(Layouts, CounterfactualsAreLabelled) {
  if (size().width < 300 || size().height < 250) return;
  const auto says = [](const Figure& figure, std::string_view words) {
    for (const Primitive& p : figure.primitives) {
      const auto* text = std::get_if<TextMark>(&p.shape);
      if (text != nullptr && text->text.find(words) != std::string::npos) return true;
    }
    return false;
  };
  KvCompareData data = sample::kv_compare_data(1);
  data.subjects.front().model = data.subjects[1].model = data.subjects[2].model = "a-model-with-quite-a-long-name";
  KvSpeedData speed = sample::kv_speed_data(1);
  speed.subjects = data.subjects;
  const std::pair<Figure, const char*> figures[] = {{kv_compare(data, KvPlot::batch, layout()), "dashed"},
                                                    {kv_compare(data, KvPlot::context, layout()), "dashed"},
                                                    {kv_compare(data, KvPlot::token, layout()), "outlined"},
                                                    {kv_speed(speed, layout()), "dashed"}};
  for (const auto& [figure, sign] : figures) {
    EXPECT_TRUE(says(figure, fmt::format("{}: counterfactual", sign))) << figure.title << size().width;
    if (size().width >= 480) {
      EXPECT_TRUE(says(figure, "MQA (counterfactual)")) << figure.title << size().width;
    }
    EXPECT_FALSE(says(figure, "(counterfac\u2026"));
  }
}

TEST_P(Layouts, Empty) {
  AtlasData opened;
  opened.facts.model = std::string(300, 'm');
  expect_good(atlas({}, {}, {}, layout()), "empty atlas");
  expect_good(atlas(opened, {}, {}, layout()), "atlas without a run");
  expect_good(map({}, {}, {}, layout()), "empty map");
  expect_good(kv({}, {}, {}, layout()), "empty kv");
  expect_good(head({}, {}, {}, layout()), "empty head");
  expect_good(tokens({}, {}, {}, layout()), "empty tokens");
}

TEST_P(Layouts, AllAreDrawn) {
  const auto draw = [&](const Figure& figure) {
    const Raster raster = rasterise(figure, Theme::light, size().scale);
    EXPECT_EQ(raster.width, std::lround(size().width * size().scale));
    EXPECT_FALSE(svg_text(figure, Theme::dark).empty());
  };
  draw(atlas(quick_atlas({5, 8, 4, 60, 1}), {}, {2, 5, {}, {}}, layout()));
  draw(map(sample::map_data({}, 2, 5), {}, {}, layout()));
  draw(kv(sample::kv_data({}), {}, {}, layout()));
  draw(kv_compare(sample::kv_compare_data(5), KvPlot::batch, layout()));
  draw(kv_compare(sample::kv_compare_data(5), KvPlot::token, layout()));
  draw(kv_speed(sample::kv_speed_data(5), layout()));
  draw(head(sample::head_data(quick_atlas({}), {}, 2, 5), {}, {}, layout()));
  draw(sharing(sample::sharing_data({}), {2, 5, {}, {}}, layout()));
  draw(tokens(sample::tokens_data(sample::story(60), size().width - 2 * tokens_margin, measurer_), {}, {}, layout()));
}

std::string size_name(const testing::TestParamInfo<size_t>& test) {
  const Size& s = sizes[test.param];
  return fmt::format("{}x{}at{}", s.width, s.height, s.scale);
}

std::vector<size_t> roomy_sizes() {
  std::vector<size_t> roomy;
  for (size_t index = 0; index < std::size(sizes); ++index) {
    if (sizes[index].width >= 240 && sizes[index].height >= 300) roomy.push_back(index);
  }
  return roomy;
}
INSTANTIATE_TEST_SUITE_P(Sizes, RoomyLayouts, testing::ValuesIn(roomy_sizes()), size_name);
INSTANTIATE_TEST_SUITE_P(Sizes, Layouts, testing::Range<size_t>(0, std::size(sizes)), size_name);

TEST(LayoutChecker, FindsWhatItLooksFor) {
  const TextMeasurer measurer;
  Figure good;
  good.width = good.height = 100;
  good.add(TextMark{{10, 20}, "ab", TextRole::text, {}});
  good.add(ImageMark{{0, 40, 50, 50}, Grid::of(1, 1, {1}), {}});
  EXPECT_EQ(fault(good, measurer), "");
  const auto with = [&](TextMark mark) {
    Figure figure = good;
    figure.add(std::move(mark));
    return fault(figure, measurer);
  };
  EXPECT_NE(with({{15, 22}, "cd", TextRole::text, {}}), "");
  EXPECT_NE(with({{90, 20}, "abcdefgh", TextRole::text, {}}), "");
  EXPECT_NE(with({{10, 5}, "ab", TextRole::text, {}}), "");
  EXPECT_NE(with({{45, 60}, "ab", TextRole::text, {}}), "");
  EXPECT_NE(with({{NAN, 60}, "ab", TextRole::text, {}}), "");
  EXPECT_NE(with({{60, 60}, "\n", TextRole::text, {}}), "");
  EXPECT_EQ(with({{60, 60}, "ab", TextRole::text, {}}), "");
}

}  // namespace
}  // namespace headscope
