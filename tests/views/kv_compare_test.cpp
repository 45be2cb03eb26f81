#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/views/kv_bars.h"
#include "core/views/kv_compare.h"
#include "core/views/plot/line_chart.h"
#include "tests/views/view_check.h"

namespace headscope {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

/// `layers` alike layers of `heads` query heads and `kv_heads` KV heads of 64; the first `windowed` keep 512 tokens.
std::shared_ptr<const Architecture> model(int64_t layers, int64_t heads, int64_t kv_heads, int64_t windowed = 0) {
  Architecture a;
  a.d_model = heads * 64;
  a.vocab_size = 1000;
  a.context = 4096;
  for (int64_t i = 0; i < layers; ++i) {
    Layer layer;
    layer.q_heads = heads;
    layer.kv_owner = i;
    layer.mlp.width = 10;
    layer.window = i < windowed ? 512 : 0;
    a.layers.push_back(layer);
    a.kv_stores.push_back({.layer = i, .kv_heads = kv_heads, .key_dim = 64, .value_dim = 64, .window = layer.window});
  }
  return std::make_shared<const Architecture>(std::move(a));
}

/// GPT-2's 12 x 12 heads, the same as MQA, and a model of half of it: 36,864, 3,072 and 18,432 B a token at 2 B.
KvCompareData three() {
  KvCompareData data;
  data.subjects = {{"gpt2", "", false, model(12, 12, 12), 1000},
                   {"gpt2", "MQA", true, model(12, 12, 1), 900},
                   {"half", "", false, model(6, 12, 12), 500}};
  data.batches = {1, 8, 64};
  data.contexts = {1024, 8192};
  data.dtype = "f16";
  return data;
}

Point centre(const Figure& figure, const std::string& id) {
  const Box box = hit_box(figure, id);
  return {box.x + box.width / 2, box.y + box.height / 2};
}

TEST(KvCompare, RowsAreTheFormula) {
  const auto rows = kv_compare_rows(three());
  ASSERT_EQ(rows.size(), 3u * 3 * 2);
  EXPECT_EQ(rows[0].bytes, 36'864 * 1024);
  EXPECT_EQ(rows[3].batch, 8);
  EXPECT_EQ(rows[3].context, 8192);
  EXPECT_EQ(rows[3].bytes, 36'864 * int64_t{8} * 8192);
  EXPECT_EQ(rows[6].subject, 1u);
  EXPECT_EQ(rows[6].bytes_per_token, 3072);
  EXPECT_EQ(rows[6].weights_bytes, 1800);
  EXPECT_EQ(rows[8].scratch_bytes, 8 * 4 * (2 * 768 + 12 * 128));  // attention is wider than 1,000 logits
}

TEST(KvCompare, LinesAreStraightAndParallelOnLogAxes) {
  const Figure figure = kv_compare(three(), KvPlot::batch, layout(1280, 800));
  const Point a = centre(figure, "kv/subject/0/0"), b = centre(figure, "kv/subject/0/1"),
              c = centre(figure, "kv/subject/0/2");
  EXPECT_NEAR(b.x - a.x, c.x - b.x, 1e-6);
  EXPECT_NEAR(b.y - a.y, c.y - b.y, 1e-6);
  EXPECT_LT(c.y, a.y);
  const Point half = centre(figure, "kv/subject/2/0"), mqa = centre(figure, "kv/subject/1/0");
  EXPECT_NEAR((mqa.y - a.y) / (half.y - a.y), std::log(12.0) / std::log(2.0), 1e-6);
  EXPECT_TRUE(has_text(figure, "gpt2 as MQA (counterfactual)"));
  EXPECT_TRUE(has_text(figure, "18.0 GiB"));  // 36,864 B x 64 x 8,192
  EXPECT_TRUE(has_text(figure, "batch, sequences"));
  EXPECT_TRUE(has_text(figure, "8,192 tokens in each sequence"));
}

TEST(KvCompare, CounterfactualLinesAreDashed) {
  const Figure figure = kv_compare(three(), KvPlot::batch, layout(1280, 800));
  size_t whole = 0, dashed = 0;
  for (const Primitive& p : figure.primitives) {
    const auto* line = std::get_if<PolylineMark>(&p.shape);
    if (line == nullptr || line->width == 1) continue;  // those that join names to lines
    (line->width == 2 ? whole : dashed) += 1;
  }
  EXPECT_EQ(whole, 2u);
  EXPECT_GT(dashed, 20u);
  EXPECT_TRUE(has_text(figure, "dashed: counterfactual"));
  KvCompareData real = three();
  real.subjects.erase(real.subjects.begin() + 1);
  EXPECT_FALSE(has_text(kv_compare(real, KvPlot::batch, layout(1280, 800)), "counterfactual"));
}

TEST(KvCompare, WindowsBendLinesOverContext) {
  KvCompareData data = three();
  data.subjects = {{"hybrid", "", false, model(12, 12, 12, 11), 1}};
  data.contexts = {128, 512, 32768};
  const Figure figure = kv_compare(data, KvPlot::context, layout(1280, 800));
  const Point a = centre(figure, "kv/subject/0/0"), b = centre(figure, "kv/subject/0/1"),
              c = centre(figure, "kv/subject/0/2");
  const double before = (a.y - b.y) / (b.x - a.x), after = (b.y - c.y) / (c.x - b.x);
  EXPECT_GT(before, 2 * after);
  size_t corners = 0;
  for (const Primitive& p : figure.primitives) {
    const auto* line = std::get_if<PolylineMark>(&p.shape);
    if (line != nullptr && line->width == 2) corners = line->points.size();
  }
  EXPECT_GT(corners, 15u);  // the sum of full and growing caches is no straight line here
  EXPECT_TRUE(has_text(figure, "batch 64"));
}

TEST(KvCompare, LinesThatCoincideAreDrawnOnce) {
  KvCompareData data = three();
  data.subjects.push_back({"twin", "", false, model(6, 12, 12), 7});
  const Figure figure = kv_compare(data, KvPlot::batch, layout(1280, 800));
  EXPECT_TRUE(has_text(figure, "= twin"));
  EXPECT_EQ(find_hit(figure, "kv/subject/3/0"), nullptr);
  EXPECT_NE(find_hit(figure, "kv/subject/2/0"), nullptr);
  // A model that nobody trained is no line of one that somebody did.
  data.subjects.back().counterfactual = true;
  data.subjects.back().scheme = "SharedKV";
  EXPECT_NE(find_hit(kv_compare(data, KvPlot::batch, layout(1280, 800)), "kv/subject/3/0"), nullptr);
}

TEST(KvCompare, BarsAreProportionalFromZero) {
  const Figure figure = kv_compare(three(), KvPlot::token, layout(1280, 800));
  const Box all = hit_box(figure, "kv/subject/0"), mqa = hit_box(figure, "kv/subject/1"),
            half = hit_box(figure, "kv/subject/2");
  EXPECT_NEAR(all.width / mqa.width, 12, 1e-9);
  EXPECT_NEAR(all.width / half.width, 2, 1e-9);
  EXPECT_EQ(all.x, mqa.x);
  EXPECT_TRUE(has_text(figure, "as MQA (counterfactual)"));
  EXPECT_TRUE(has_text(figure, "1/12"));
  EXPECT_TRUE(has_text(figure, "36.0 KiB"));
  const auto outlined = [&](const char* id) {
    return std::get<RectMark>(find_hit(figure, id)->shape).stroke.has_value();
  };
  EXPECT_TRUE(outlined("kv/subject/1"));
  EXPECT_FALSE(outlined("kv/subject/0"));
}

TEST(KvCompare, SentenceNamesTheExtremes) {
  EXPECT_EQ(kv_compare(three(), KvPlot::batch, layout(1280, 800)).sentence,
            "64 sequences of 8,192 tokens need 18.0 GiB of KV cache in gpt2, 1.50 GiB in gpt2 as MQA (counterfactual): "
            "12 times less.");
  EXPECT_EQ(kv_compare(three(), KvPlot::token, layout(1280, 800)).sentence,
            "One more token needs 36.0 KiB of KV cache in gpt2, 3,072 B in gpt2 as MQA (counterfactual): 12 times "
            "less.");
  KvCompareData one = three();
  one.subjects.resize(1);
  EXPECT_EQ(kv_compare(one, KvPlot::token, layout(1280, 800)).sentence,
            "One more token needs 36.0 KiB of KV cache in gpt2.");
}

TEST(KvCompare, TableHasEveryRowForEveryPlot) {
  for (const KvPlot plot : {KvPlot::batch, KvPlot::context, KvPlot::token}) {
    const Figure figure = kv_compare(three(), plot, layout(640, 400));
    ASSERT_EQ(figure.table.rows, 18u);
    EXPECT_EQ(cell<std::string>(figure, "model", 6), "gpt2 as MQA (counterfactual)");
    EXPECT_EQ(cell<std::string>(figure, "counterfactual", 6), "yes");
    EXPECT_EQ(cell<std::string>(figure, "counterfactual", 0), "no");
    EXPECT_EQ(cell<std::string>(figure, "variant", 6), "MQA");
    EXPECT_EQ(cell<int64_t>(figure, "kv", 7), 3072 * 8192);
    EXPECT_EQ(cell<int64_t>(figure, "weights", 7), 1800);
  }
  const std::string csv = csv_text(kv_compare(three(), KvPlot::token, layout(640, 400)).table);
  EXPECT_THAT(csv, HasSubstr("model,variant,counterfactual,batch,context (tokens),kv (bytes),kv_per_token (bytes),"));
}

TEST(KvCompare, DefaultPlotIsOverWhatThereAreSeveralOf) {
  KvCompareData data = three();
  EXPECT_EQ(default_kv_plot(data), KvPlot::batch);
  data.batches = {8};
  EXPECT_EQ(default_kv_plot(data), KvPlot::context);
  data.contexts = {1024};
  EXPECT_EQ(default_kv_plot(data), KvPlot::token);
}

TEST(KvCompare, RefusesWhatItCannotDraw) {
  KvCompareData data = three();
  data.batches = {8, 8};
  EXPECT_THAT(message_of([&] { kv_compare(data, KvPlot::batch, layout(640, 400)); }), HasSubstr("several batches"));
  data.contexts = {64};
  EXPECT_THAT(message_of([&] { kv_compare(data, KvPlot::context, layout(640, 400)); }), HasSubstr("several contexts"));
  data.subjects.clear();
  EXPECT_THAT(message_of([&] { kv_compare(data, KvPlot::token, layout(640, 400)); }), HasSubstr("needs a model"));
  data = three();
  data.batches = data.contexts = {int64_t{1} << 40};
  EXPECT_THAT(message_of([&] { kv_compare(data, KvPlot::token, layout(640, 400)); }), HasSubstr("2^63"));
}

/// What deuteranopes and protanopes see of a colour (Vienot, Brettel and Mollon 1999), in L*a*b*.
Lab seen(Rgb c, bool deutan) {
  const auto linear = [](uint8_t v) {
    const double x = v / 255.0;
    return x <= 0.04045 ? x / 12.92 : std::pow((x + 0.055) / 1.055, 2.4);
  };
  const auto encoded = [](double v) {
    v = std::clamp(v, 0.0, 1.0);
    return static_cast<uint8_t>(std::lround(255 * (v <= 0.0031308 ? 12.92 * v : 1.055 * std::pow(v, 1 / 2.4) - 0.055)));
  };
  const double r = linear(c.r), g = linear(c.g), b = linear(c.b);
  const double yellow = deutan ? 0.29275 * r + 0.70725 * g : 0.11238 * r + 0.88762 * g;
  const double blue = deutan ? b + 0.02234 * (g - r) : b - 0.00401 * (g - r);
  return to_lab({encoded(yellow), encoded(yellow), encoded(blue)});
}

TEST(KvCompare, ModelsOfOneMarkKeepApartWithoutRedOrGreen) {
  for (const Theme theme : {Theme::dark, Theme::light}) {
    for (const bool deutan : {false, true}) {
      for (size_t i = 0; i < 12; ++i) {
        for (size_t k = 0; k < i; ++k) {
          if (kv_mark(i) != kv_mark(k)) continue;
          const Lab a = seen(colour(kv_paint(i).role, theme), deutan),
                    b = seen(colour(kv_paint(k).role, theme), deutan);
          EXPECT_GT(std::hypot(a.l - b.l, a.a - b.a, a.b - b.b), 12)
              << i << " and " << k << (deutan ? " deutan" : " protan");
        }
      }
    }
  }
}

TEST(LineChart, NamesAreMovedApartAsLittleAsNeeded) {
  const auto apart = [](std::vector<double> centres) { return moved_apart(centres, 10, 0, 100); };
  EXPECT_THAT(apart({}), ElementsAre());
  EXPECT_THAT(apart({5, 50}), ElementsAre(5, 50));
  EXPECT_THAT(apart({50, 50}), ElementsAre(45, 55));
  EXPECT_THAT(apart({50, 50, 52, 90}),
              ElementsAre(testing::DoubleNear(40 + 2 / 3.0, 1e-9), testing::DoubleNear(50 + 2 / 3.0, 1e-9),
                          testing::DoubleNear(60 + 2 / 3.0, 1e-9), 90));
  EXPECT_THAT(apart({0, 1}), ElementsAre(0, 10));
  EXPECT_THAT(apart({99, 100, 100}), ElementsAre(80, 90, 100));
}

TEST(LineChart, DashesKeepTheirLengthAroundCorners) {
  const std::vector<Point> corner{{0, 0}, {8, 0}, {8, 100}};
  const auto cut = dashes(corner, 10, 5);
  ASSERT_EQ(cut.size(), 8u);  // 108 px of 15 a dash and gap: seven, and a last one of 3
  ASSERT_EQ(cut[0].size(), 3u);
  EXPECT_EQ(cut[0][1].x, 8);
  EXPECT_DOUBLE_EQ(cut[0][2].y, 2);
  EXPECT_DOUBLE_EQ(cut[1][0].y, 7);
  EXPECT_DOUBLE_EQ(cut[1][1].y, 17);
  EXPECT_DOUBLE_EQ(cut.back().back().y, 100);
  EXPECT_TRUE(dashes({}, 10, 5).empty());
}

TEST(LineChart, ByteTicksArePowersOfTwo) {
  const auto labels = [](double lo, double hi, int most) {
    std::vector<std::string> out;
    for (const Tick& tick : log_byte_ticks(lo, hi, most)) out.push_back(tick.label);
    return out;
  };
  constexpr double mib = 1 << 20;
  EXPECT_THAT(labels(mib, 16 * mib, 5), ElementsAre("1 MiB", "2 MiB", "4 MiB", "8 MiB", "16 MiB"));
  EXPECT_THAT(labels(mib, 1024 * mib, 3), ElementsAre("1 MiB", "16 MiB", "256 MiB"));
  EXPECT_THAT(labels(mib, 1024 * mib, 2), ElementsAre("1 MiB", "1 GiB"));
  EXPECT_THAT(labels(300, 3000, 8), ElementsAre("512 B", "1 KiB", "2 KiB"));
  for (const int most : {1, 2, 5, 9}) EXPECT_LE(labels(1, 1e18, most).size(), static_cast<size_t>(most));
  EXPECT_TRUE(log_byte_ticks(8, 8, 5).empty());
  EXPECT_TRUE(log_byte_ticks(0, 8, 5).empty());
}

}  // namespace
}  // namespace headscope
