#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/views/kv_bars.h"
#include "tests/views/view_check.h"

namespace headscope {
namespace {

using testing::HasSubstr;

/// A model and two what-ifs at batches of 1, 4 and 16 and 2,048 tokens; decode is made up, the last is the fastest.
KvSpeedData measured() {
  KvSpeedData data = sample::kv_speed_data(1);
  for (KvSpeedRow& row : data.rows) {
    row.decode = 1000.4 * static_cast<double>(row.batch) * static_cast<double>(row.subject + 1) / 4;
    row.slowest = 0.99 * row.decode;
    row.fastest = 1.01 * row.decode;
  }
  return data;
}

std::vector<ColourRole> line_colours(const Figure& figure) {
  std::vector<ColourRole> out;
  for (const Primitive& p : figure.primitives) {
    const auto* line = std::get_if<PolylineMark>(&p.shape);
    if (line == nullptr || line->width == 1) continue;  // those that join names to lines
    if (out.empty() || out.back() != line->paint.role) out.push_back(line->paint.role);
  }
  return out;
}

TEST(KvSpeed, HalfAsFastIsHalfAsHigh) {
  const Figure figure = kv_speed(measured(), layout(1280, 800));
  const auto middle = [&](const char* id) {
    const Box box = hit_box(figure, id);
    return Point{box.x + box.width / 2, box.y + box.height / 2};
  };
  const Point one = middle("kv/subject/0/0"), four = middle("kv/subject/0/1"), twice = middle("kv/subject/1/1"),
              sixteen = middle("kv/subject/0/2");
  EXPECT_NEAR(twice.y - four.y, (four.y - one.y) * 4 / 3, 1e-6);  // 500, 250 and 1,000 / 4 more tokens/s
  EXPECT_NEAR(four.x - one.x, sixteen.x - four.x, 1e-6);
  EXPECT_THAT(find_hit(figure, "kv/subject/2/2")->hit->tooltip, HasSubstr("batch 16, context 2,048\n12,005 tokens/s"));
}

TEST(KvSpeed, NumbersHaveCommas) {
  const Figure figure = kv_speed(measured(), layout(1280, 800));
  EXPECT_THAT(figure.sentence, HasSubstr("12,005 tokens/s with 16 sequences of 2,048 tokens"));
  EXPECT_TRUE(has_text(figure, "12,005 tokens/s"));
  EXPECT_TRUE(has_text(figure, "10,000"));  // on the axis
  EXPECT_EQ(grouped_number(8549.4), "8,549");
  EXPECT_EQ(grouped_number(999.4), "999");
  EXPECT_EQ(grouped_number(999.6), "1,000");
  EXPECT_EQ(grouped_number(21.44), "21.4");
  EXPECT_EQ(grouped_number(1234567), "1,234,567");
}

TEST(KvSpeed, TheSentenceTellsTheFastestOrThatNoneIs) {
  KvSpeedData data = measured();
  EXPECT_THAT(kv_speed(data, layout(1280, 800)).sentence,
              HasSubstr("as SharedKV CLA-2 GQA-4 (counterfactual) decodes fastest"));
  for (KvSpeedRow& row : data.rows) row.fastest = 2 * row.decode;
  EXPECT_THAT(kv_speed(data, layout(1280, 800)).sentence, HasSubstr("differ by less than their repeats do"));
}

/// A line has one colour, whatever is plotted.
TEST(KvSpeed, ColoursAreThoseOfMemory) {
  for (const size_t models : {1, 2}) {
    const Figure memory = kv_compare(sample::kv_compare_data(models), KvPlot::batch, layout(1280, 800));
    const Figure speed = kv_speed(sample::kv_speed_data(models), layout(1280, 800));
    EXPECT_EQ(line_colours(memory).front(), line_colours(speed).front());
    if (models == 1) {
      EXPECT_EQ(line_colours(memory), line_colours(speed));
    }
  }
  // What-ifs of a single model are told apart by colour; those of several have their model's.
  const auto one = sample::kv_compare_data(1).subjects, two = sample::kv_compare_data(2).subjects;
  EXPECT_EQ(kv_line_style(one, 0), 0u);
  EXPECT_EQ(kv_line_style(one, 2), 2u);
  EXPECT_EQ(kv_line_style(two, 2), 0u);
  EXPECT_EQ(kv_line_style(two, 3), 1u);
  EXPECT_EQ(kv_line_style(two, 5), 1u);
}

TEST(KvSpeed, TheTableHasAllThatWasMeasured) {
  KvSpeedData data = measured();
  data.rows[4].largest_batch = 77;
  const Figure figure = kv_speed(data, layout(1280, 800));
  ASSERT_EQ(figure.table.rows, 9u);
  EXPECT_EQ(cell<std::string>(figure, "model", 4), "pythia-160m-variant-0 as MQA (counterfactual)");
  EXPECT_EQ(cell<int64_t>(figure, "batch", 4), 4);
  EXPECT_EQ(cell<int64_t>(figure, "largest_batch", 4), 77);
  EXPECT_EQ(cell<std::string>(figure, "largest_batch", 3), "");
  EXPECT_EQ(cell<std::string>(figure, "weights", 4), "random");
  EXPECT_EQ(cell<std::string>(figure, "weights", 0), "checkpoint");
  EXPECT_EQ(cell<std::string>(figure, "kernel", 0), "cpu/AVX2");
  EXPECT_EQ(cell<int64_t>(figure, "threads", 0), 2);
  EXPECT_EQ(cell<int64_t>(figure, "repeats", 0), 3);
}

TEST(KvSpeed, OverContextWhereThereIsOneBatch) {
  KvSpeedData data = measured();
  for (KvSpeedRow& row : data.rows) {
    row.context = 128 * row.batch;
    row.batch = 2;
    row.too_short = row.context < 256;
  }
  const Figure figure = kv_speed(data, layout(1280, 800));
  EXPECT_EQ(figure.title, "Decode speed against context");
  EXPECT_TRUE(has_text(figure, "too short to show a KV effect"));
  EXPECT_TRUE(has_text(figure, "batch 2"));
  for (KvSpeedRow& row : data.rows) row.context = 128;
  EXPECT_THAT(message_of([&] { kv_speed(data, layout(640, 400)); }), HasSubstr("several batches"));
  data.rows.clear();
  EXPECT_THAT(message_of([&] { kv_speed(data, layout(640, 400)); }), HasSubstr("measurements"));
}

TEST(LineChart, NamesKeepTheirTails) {
  const LineName name{"stories260K as MQA (counterfactual)", " as MQA (counterfactual)"};
  const auto fitted = [&](double width) { return name.fitted(TextRole::caption, width, measurer()); };
  const double whole = measurer().width(name.whole, TextRole::caption);
  EXPECT_EQ(fitted(whole), name.whole);
  const std::string less = fitted(whole - 20);
  EXPECT_TRUE(less.starts_with("stories")) << less;
  EXPECT_TRUE(less.ends_with("\u2026 as MQA (counterfactual)")) << less;
  EXPECT_EQ(fitted(measurer().width("\u2026 MQA (counterfactual)", TextRole::caption)), "\u2026 MQA (counterfactual)");
  EXPECT_EQ(fitted(measurer().width("\u2026 (counterfactual)", TextRole::caption)), "\u2026 (counterfactual)");
  EXPECT_EQ(fitted(20), "");
  EXPECT_EQ((LineName{"stories260K"}.fitted(TextRole::caption, 50, measurer())).substr(0, 3), "sto");
}

}  // namespace
}  // namespace headscope
