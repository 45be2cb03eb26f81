#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stb_image.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <locale>
#include <sstream>

#include "core/base/error.h"
#include "core/views/write.h"
#include "tests/views/sample_data.h"
#include "tests/views/xml_check.h"

namespace headscope {
namespace {

using testing::HasSubstr;

Figure blank(double width, double height) {
  Figure figure;
  figure.width = width;
  figure.height = height;
  return figure;
}

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

// --- PNG ----------------------------------------------------------------------------------------------------

TEST(Png, BackgroundAndSizeFollowThemeAndScale) {
  for (const double scale : {1.0, 1.5, 2.0, 4.0}) {
    const Raster raster = rasterise(blank(33, 20), Theme::light, scale);
    EXPECT_EQ(raster.width, std::lround(33 * scale));
    EXPECT_EQ(raster.height, std::lround(20 * scale));
    EXPECT_EQ(raster.at(raster.width - 1, raster.height - 1), (Rgb{255, 255, 255}));
  }
}

TEST(Png, BytesDecodeToTheSamePixels) {
  const TextMeasurer text;
  const Figure figure = map(sample::map_data({}, 2, 5), {}, {2, 5, 30, 10}, {400, 300, 1, text});
  const Raster raster = rasterise(figure, Theme::dark);
  const std::string png = png_bytes(raster);
  int width = 0, height = 0, channels = 0;
  stbi_uc* pixels = stbi_load_from_memory(reinterpret_cast<const stbi_uc*>(png.data()), static_cast<int>(png.size()),
                                          &width, &height, &channels, 3);
  ASSERT_NE(pixels, nullptr);
  EXPECT_EQ(width, 400);
  EXPECT_EQ(height, 300);
  EXPECT_EQ(channels, 3);
  EXPECT_TRUE(std::equal(raster.rgb.begin(), raster.rgb.end(), pixels));
  stbi_image_free(pixels);
}

TEST(Png, FillsBoxesWithExactCoverage) {
  Figure figure = blank(16, 16);
  figure.background = ColourRole::plate;  // #0E1013 in both themes
  figure.add(RectMark{{2, 2, 4, 4}, Paint{ColourRole::panel}, {}});
  figure.add(RectMark{{8.5, 2, 2, 1}, Paint{ColourRole::panel}, {}});
  const Raster raster = rasterise(figure, Theme::light);
  const Rgb white{255, 255, 255}, dark{0x0E, 0x10, 0x13};
  EXPECT_EQ(raster.at(2, 2), white);
  EXPECT_EQ(raster.at(5, 5), white);
  EXPECT_EQ(raster.at(6, 5), dark);
  EXPECT_EQ(raster.at(1, 2), dark);
  EXPECT_EQ(raster.at(9, 2), white);
  EXPECT_EQ(raster.at(8, 2), (Rgb{135, 136, 137}));  // half covered
  EXPECT_EQ(raster.at(10, 2), (Rgb{135, 136, 137}));
}

TEST(Png, StrokesLieInsideTheBox) {
  for (const double corner : {0.0, 4.0}) {
    Figure figure = blank(32, 32);
    figure.background = ColourRole::plate;
    figure.add(RectMark{{4, 4, 20, 20}, {}, Paint{ColourRole::panel}, 2, corner});
    const Raster raster = rasterise(figure, Theme::light);
    EXPECT_EQ(raster.at(14, 4), (Rgb{255, 255, 255}));
    EXPECT_EQ(raster.at(14, 5), (Rgb{255, 255, 255}));
    EXPECT_EQ(raster.at(23, 14), (Rgb{255, 255, 255}));
    EXPECT_EQ(raster.at(14, 3), (Rgb{0x0E, 0x10, 0x13}));
    EXPECT_EQ(raster.at(14, 6), (Rgb{0x0E, 0x10, 0x13})) << corner;
    EXPECT_EQ(raster.at(4, 4) == (Rgb{255, 255, 255}), corner == 0);
  }
}

TEST(Png, ImagesAreNearestCells) {
  Figure figure = blank(40, 40);
  figure.add(ImageMark{{4, 4, 32, 32}, Grid::of(2, 2, {0, 1, 0.5f, NAN}), {Ramp::attention, 0, 1, false}});
  const Raster raster = rasterise(figure, Theme::dark);
  const CellColours colours({Ramp::attention, 0, 1, false}, Theme::dark);
  EXPECT_EQ(raster.at(4, 4), colours(0));
  EXPECT_EQ(raster.at(19, 19), colours(0));
  EXPECT_EQ(raster.at(20, 19), colours(1));
  EXPECT_EQ(raster.at(35, 4), colours(1));
  EXPECT_EQ(raster.at(4, 35), colours(0.5));
  EXPECT_EQ(raster.at(35, 35), colour(ColourRole::invalid, Theme::dark));
  EXPECT_EQ(raster.at(36, 35), colour(ColourRole::panel, Theme::dark));
}

TEST(Png, LinesAndPolygonsCoverTheirMiddle) {
  Figure figure = blank(64, 64);
  figure.add(LineMark{{8, 8}, {56, 56}, {ColourRole::text}, 4});
  figure.add(PolygonMark{{{40, 8}, {60, 8}, {60, 20}, {40, 20}}, {ColourRole::model_a}});
  figure.add(PolylineMark{{{8, 40}, {20, 40}, {20, 60}}, {ColourRole::model_b}, 2});
  const Raster raster = rasterise(figure, Theme::dark);
  EXPECT_EQ(raster.at(30, 30), colour(ColourRole::text, Theme::dark));
  EXPECT_EQ(raster.at(30, 36), colour(ColourRole::panel, Theme::dark));
  EXPECT_EQ(raster.at(50, 14), colour(ColourRole::model_a, Theme::dark));
  EXPECT_EQ(raster.at(50, 21), colour(ColourRole::panel, Theme::dark));
  EXPECT_EQ(raster.at(12, 39), colour(ColourRole::model_b, Theme::dark));
  EXPECT_EQ(raster.at(20, 39), colour(ColourRole::model_b, Theme::dark));  // the corner is filled
  EXPECT_EQ(raster.at(19, 50), colour(ColourRole::model_b, Theme::dark));
}

TEST(Png, ManyPolygonsAndPointsAreAllDrawn) {
  Figure figure = blank(2000, 16);
  std::vector<Point> zigzag;
  for (int i = 0; i < 20000; ++i) zigzag.push_back({i * 0.1, i % 2 == 0 ? 4.0 : 12.0});
  figure.add(PolylineMark{zigzag, {ColourRole::text}, 1});
  const Raster raster = rasterise(figure, Theme::dark);
  for (const int x : {10, 700, 1300, 1990}) EXPECT_NE(raster.at(x, 8), colour(ColourRole::panel, Theme::dark)) << x;
}

TEST(Png, AreasWithManyCornersAreDrawn) {
  // Two thousand corners in one row of pixels: more than FreeType takes at once.
  Figure figure = blank(1100, 40);
  std::vector<Point> corners;
  for (int x = 0; x <= 1000; ++x) corners.insert(corners.end(), {{x + 0.0, 10.0 + x % 2}, {x + 1.0, 10.0 + x % 2}});
  for (int x = 1000; x >= 0; --x) corners.insert(corners.end(), {{x + 1.0, 30.0}, {x + 0.0, 30.0}});
  figure.add(PolygonMark{corners, {ColourRole::text}});
  const Raster raster = rasterise(figure, Theme::dark);
  for (int x = 0; x <= 1000; ++x) {
    ASSERT_EQ(raster.at(x, 20), colour(ColourRole::text, Theme::dark)) << x;
    ASSERT_EQ(raster.at(x, 10) == colour(ColourRole::text, Theme::dark), x % 2 == 0) << x;
  }
  EXPECT_EQ(raster.at(1001, 20), colour(ColourRole::panel, Theme::dark));
  figure.add(PolygonMark{std::vector<Point>(40000), {ColourRole::text}});
  EXPECT_THAT(message_of([&] { rasterise(figure, Theme::dark); }), HasSubstr("40000 corners"));
}

/// The smallest box around pixels that are not the background.
Box ink(const Raster& raster, Rgb background) {
  int64_t left = raster.width, right = 0, top = raster.height, bottom = 0;
  for (int64_t y = 0; y < raster.height; ++y) {
    for (int64_t x = 0; x < raster.width; ++x) {
      if (raster.at(x, y) == background) continue;
      left = std::min(left, x), right = std::max(right, x + 1), top = std::min(top, y),
      bottom = std::max(bottom, y + 1);
    }
  }
  return {static_cast<double>(left), static_cast<double>(top), static_cast<double>(right - left),
          static_cast<double>(bottom - top)};
}

TEST(Png, TextLiesWhereItIsMeasured) {
  const TextMeasurer text;
  for (const bool upward : {false, true}) {
    for (const Anchor anchor : {Anchor::start, Anchor::middle, Anchor::end}) {
      Figure figure = blank(200, 200);
      figure.add(TextMark{{100, 100}, "HxgH", TextRole::title, {ColourRole::text}, anchor, upward});
      const Box drawn = ink(rasterise(figure, Theme::dark), colour(ColourRole::panel, Theme::dark));
      const Box measured = bounds(figure.primitives[0], text).grown(1);
      EXPECT_GE(drawn.x, measured.x);
      EXPECT_GE(drawn.y, measured.y);
      EXPECT_LE(drawn.right(), measured.right());
      EXPECT_LE(drawn.bottom(), measured.bottom());
      EXPECT_GT(upward ? drawn.height : drawn.width, (upward ? measured.height : measured.width) - 6);
    }
  }
}

// --- SVG ----------------------------------------------------------------------------------------------------

TEST(Svg, IsWellFormedForEveryView) {
  const TextMeasurer text;
  MapData hard = sample::map_data({5, 8, 4, 34, 1}, 1, 3);
  hard.pieces = sample::hard_pieces(34);
  hard.facts.model = "a<b>&\"c\" ]]> \x01\xff";
  hard.facts.badges = {"head 1:3 zeroed & <more>"};
  const Layout layout{900, 700, 1, text};
  for (const Figure& figure :
       {map(hard, {}, {1, 3, 20, 4}, layout), atlas(sample::atlas_data({}), {}, {2, 5, {}, {}}, layout),
        kv(sample::kv_data({}), {}, {}, layout), kv(sample::kv_data({32, 32, 8, 2048, 1}), {}, {}, layout),
        map({}, {}, {}, layout)}) {
    for (const Theme theme : {Theme::dark, Theme::light})
      EXPECT_EQ(xml_fault(svg_text(figure, theme)), "") << figure.title;
  }
}

TEST(Svg, TheCheckerFindsFaults) {
  const std::string head = "<?xml version=\"1.0\"?>\n";
  EXPECT_EQ(xml_fault(head + "<a b=\"1\"><c/>x &amp; y</a>\n"), "");
  for (const char* bad : {"<a>", "<a></b>", "<a b=1/>", "<a>&x</a>", "<a b=\"<\"/>", "<a/><b/>", "<a>\x01</a>",
                          "<a b=\"1\" b=\"2\"/>", "x<a/>"}) {
    EXPECT_NE(xml_fault(head + bad), "") << bad;
  }
}

TEST(Svg, TextIsTextWithItsLength) {
  Figure figure = blank(100, 50);
  figure.sentence = "one & two";
  figure.add(TextMark{{10, 20}, "a<b", TextRole::number, {ColourRole::dim}}, {"x/1", "first\nsecond"});
  const std::string svg = svg_text(figure, Theme::dark, 2);
  EXPECT_THAT(svg, HasSubstr(R"(width="200" height="100" viewBox="0 0 100 50")"));
  EXPECT_THAT(svg, HasSubstr(R"(textLength="23.4")"));
  EXPECT_THAT(svg, HasSubstr("'JetBrains Mono'"));
  EXPECT_THAT(svg, HasSubstr(">a&lt;b</text>"));
  EXPECT_THAT(svg, HasSubstr("#9BA5B5"));
  EXPECT_THAT(svg, HasSubstr("<desc>one &amp; two</desc>"));
  EXPECT_THAT(svg, HasSubstr("<g data-id=\"x/1\"><title>first\nsecond</title>"));
}

TEST(Svg, ImagesAreEmbeddedCellForCell) {
  Figure figure = blank(100, 50);
  figure.add(ImageMark{{10, 10, 40, 20}, Grid::of(1, 2, {0, 1}), {Ramp::attention, 0, 1, false}});
  const std::string svg = svg_text(figure, Theme::dark);
  EXPECT_THAT(svg, HasSubstr("image-rendering:pixelated"));
  const std::string mark = "data:image/png;base64,";
  const size_t begin = svg.find(mark) + mark.size();
  const std::string encoded = svg.substr(begin, svg.find('"', begin) - begin);
  ASSERT_EQ(encoded.size() % 4, 0u);
  std::string bytes;
  const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t i = 0; i < encoded.size(); i += 4) {
    uint32_t group = 0;
    for (size_t k = 0; k < 4; ++k)
      group = group << 6 | (encoded[i + k] == '=' ? 0u : static_cast<uint32_t>(digits.find(encoded[i + k])));
    for (int k = 2; k >= 0; --k) bytes += static_cast<char>(group >> (8 * k));
  }
  int width = 0, height = 0, channels = 0;
  stbi_uc* pixels = stbi_load_from_memory(reinterpret_cast<const stbi_uc*>(bytes.data()),
                                          static_cast<int>(bytes.size()), &width, &height, &channels, 3);
  ASSERT_NE(pixels, nullptr);
  ASSERT_EQ(width, 2);
  ASSERT_EQ(height, 1);
  EXPECT_EQ((Rgb{pixels[0], pixels[1], pixels[2]}), ramp_colour(Ramp::attention, Theme::dark, 0));
  EXPECT_EQ((Rgb{pixels[3], pixels[4], pixels[5]}), ramp_colour(Ramp::attention, Theme::dark, 1));
  stbi_image_free(pixels);
}

// --- CSV ----------------------------------------------------------------------------------------------------

/// RFC 4180, for texts without a carriage return.
std::vector<std::vector<std::string>> parse_csv(const std::string& text) {
  std::vector<std::vector<std::string>> rows{{""}};
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted && c == '"' && i + 1 < text.size() && text[i + 1] == '"') {
      rows.back().back() += '"', ++i;
    } else if (c == '"') {
      quoted = !quoted;
    } else if (!quoted && c == ',') {
      rows.back().emplace_back();
    } else if (!quoted && c == '\n') {
      if (i + 1 < text.size()) rows.push_back({""});
    } else {
      rows.back().back() += c;
    }
  }
  return rows;
}

TEST(Csv, RoundTripsNumbersAndText) {
  const std::vector<std::string> texts{"plain", "a,b", "say \"hi\"", "two\nlines", "\u4E2D", ""};
  const std::vector<double> numbers{0.1, -1e-30, 1.0 / 3, 12345678.9, NAN, -INFINITY};
  Table table{texts.size(), {}};
  table.columns.push_back({"text", "", [&](size_t i) -> Table::Value { return texts[i]; }});
  table.columns.push_back({"weight", "nats", [&](size_t i) -> Table::Value { return numbers[i]; }});
  table.columns.push_back({"count", "tokens", [](size_t i) -> Table::Value { return static_cast<int64_t>(i) - 2; }});
  const auto rows = parse_csv(csv_text(table));
  ASSERT_EQ(rows.size(), texts.size() + 1);
  EXPECT_THAT(rows[0], testing::ElementsAre("text", "weight (nats)", "count (tokens)"));
  for (size_t i = 0; i < texts.size(); ++i) {
    EXPECT_EQ(rows[i + 1][0], texts[i]);
    if (!std::isnan(numbers[i])) {
      EXPECT_EQ(std::strtod(rows[i + 1][1].c_str(), nullptr), numbers[i]);
    }
    EXPECT_EQ(rows[i + 1][2], std::to_string(static_cast<int>(i) - 2));
  }
  EXPECT_EQ(rows[5][1], "NaN");
}

TEST(Csv, NoCellIsAFormula) {
  const std::vector<std::string> texts{"=1+1", "+x", "-x", "@x", "\tx", "\rx", "x=1"};
  Table table{texts.size(), {}};
  table.columns.push_back({"=name", "", [&](size_t i) -> Table::Value { return texts[i]; }});
  const auto rows = parse_csv(csv_text(table));
  EXPECT_EQ(rows[0][0], "'=name");
  for (size_t i = 0; i + 1 < texts.size(); ++i) EXPECT_EQ(rows[i + 1][0], "'" + texts[i]);
  EXPECT_EQ(rows[7][0], "x=1");
}

TEST(Csv, IsAlwaysUtf8) {
  const Table table{1, {{"x", "", [](size_t) -> Table::Value { return std::string("a\xE2\x82 \0 b", 7); }}}};
  EXPECT_EQ(csv_text(table), "x\na\uFFFD\uFFFD \uFFFD b\n");
}

struct CommaForPoint : std::numpunct<char> {
  char do_decimal_point() const override { return ','; }
  char do_thousands_sep() const override { return '.'; }
  std::string do_grouping() const override { return "\3"; }
};

TEST(Csv, TheLocaleDoesNotMatter) {
  const std::locale before = std::locale::global(std::locale(std::locale(), new CommaForPoint));
  const Table table{1, {{"x", "", [](size_t) -> Table::Value { return 12345.5; }}}};
  const std::string text = csv_text(table);
  const std::string svg = svg_text(blank(1234.5, 20), Theme::dark);
  std::locale::global(before);
  EXPECT_EQ(text, "x\n12345.5\n");
  EXPECT_THAT(svg, HasSubstr("width=\"1234.5\""));
}

// --- limits and files ---------------------------------------------------------------------------------------

TEST(PictureSize, OutsideTheLimitsIsRefused) {
  EXPECT_THAT(message_of([] { check_picture_size(0, 0, 1); }), HasSubstr("16 to 16384"));
  EXPECT_THAT(message_of([] { check_picture_size(100000, 100000, 1); }), HasSubstr("16 to 16384"));
  EXPECT_THAT(message_of([] { check_picture_size(100, 15, 1); }), HasSubstr("16 to 16384"));
  EXPECT_THAT(message_of([] { check_picture_size(5000, 100, 4); }), HasSubstr("16 to 16384"));
  EXPECT_THAT(message_of([] { check_picture_size(NAN, 100, 1); }), HasSubstr("16 to 16384"));
  EXPECT_THAT(message_of([] { check_picture_size(100, 100, 0.5); }), HasSubstr("between 1 and 4"));
  EXPECT_THAT(message_of([] { check_picture_size(100, 100, NAN); }), HasSubstr("between 1 and 4"));
  EXPECT_THAT(message_of([] { check_picture_size(16384, 16384, 1); }), HasSubstr("million"));
  EXPECT_NO_THROW(check_picture_size(16384, 16, 1));
  EXPECT_NO_THROW(check_picture_size(16, 16384, 1));
  EXPECT_THROW(rasterise(blank(8, 8), Theme::dark), Error);
  EXPECT_THROW(svg_text(blank(8, 8), Theme::dark), Error);
}

class WriteFigure : public testing::Test {
 protected:
  WriteFigure()
      : folder_(std::filesystem::path(testing::TempDir()) /
                testing::UnitTest::GetInstance()->current_test_info()->name()) {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  ~WriteFigure() override { std::filesystem::remove_all(folder_); }

  std::string content(const std::string& name) const {
    std::ifstream file(folder_ / name, std::ios::binary);
    std::stringstream out;
    out << file.rdbuf();
    return out.str();
  }

  std::filesystem::path folder_;
};

TEST_F(WriteFigure, TheEndingDecides) {
  const TextMeasurer text;
  const Figure figure = kv(sample::kv_data({}), {}, {}, {640, 400, 1, text});
  write_figure(figure, folder_ / "a.svg", Theme::dark);
  write_figure(figure, folder_ / "a.PNG", Theme::dark, 2);
  write_figure(figure, folder_ / "a.csv", Theme::dark);
  EXPECT_EQ(content("a.svg"), svg_text(figure, Theme::dark));
  EXPECT_EQ(content("a.PNG").substr(1, 3), "PNG");
  EXPECT_THAT(content("a.csv"), testing::StartsWith("layer,used (bytes),allocated (bytes)"));
}

TEST_F(WriteFigure, AnotherEndingIsRefusedAndNothingIsLeft) {
  const Figure figure = blank(100, 100);
  for (const char* name : {"a.pdf", "a", "a.svg.gz", ".png"}) {
    const std::string message = message_of([&] { write_figure(figure, folder_ / name, Theme::dark); });
    EXPECT_THAT(message, HasSubstr(".svg, .png or .csv")) << name;
  }
  EXPECT_THROW(write_figure(blank(1, 1), folder_ / "b.png", Theme::dark), Error);
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

}  // namespace
}  // namespace headscope
