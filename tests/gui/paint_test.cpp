#include <fmt/format.h>
#include <gmock/gmock.h>

#include <random>

#include "tests/gui/pictures.h"
#include "tests/gui/stage.h"
#include "tests/views/sample_data.h"

namespace headscope::gui {
namespace {

constexpr Theme both_themes[] = {Theme::dark, Theme::light};

int pixels(double px, double scale) { return static_cast<int>(std::lround(px * scale)); }

Figure blank(double width, double height) {
  Figure figure;
  figure.width = width;
  figure.height = height;
  return figure;
}

Grid random_grid(int64_t rows, int64_t cols, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> value(-0.1f, 1.1f);
  std::vector<float> values(static_cast<size_t>(rows * cols));
  for (float& v : values) v = value(random);
  return Grid::of(rows, cols, std::move(values));
}

/// A stage as large as the figure.
struct FigureStage : Stage {
  FigureStage(const Figure& figure, double scale = 1)
      : Stage(pixels(figure.width, scale), pixels(figure.height, scale), scale) {}
};

/// Painted and PNG have the same pixels, but for one step of the ramp at `steps` of them.
void expect_same(const Figure& figure, double scale = 1, Theme theme = Theme::dark, int64_t steps = 0) {
  FigureStage stage(figure, scale);
  SKIP_WITHOUT_EGL(stage);
  const Raster seen = stage.painted(figure, theme), expected = rasterise(figure, theme, scale);
  EXPECT_EQ(different_pixels(seen, expected, 2), 0) << "scale " << scale;
  EXPECT_LE(different_pixels(seen, expected, 0), steps) << "scale " << scale;
}

// --- views --------------------------------------------------------------------------------------------------

struct Sample {
  std::string name;
  Figure figure;
};

std::vector<Sample> samples(double scale) {
  static const TextMeasurer text;
  const Layout wide{1000, 700, scale, text}, small{640, 400, scale, text}, strip{1276, 140, scale, text};
  std::vector<Sample> out;
  out.push_back({"atlas", atlas(sample::atlas_data({}), {}, {2, 5, {}, {}}, wide)});
  out.push_back({"atlas-32x32", atlas(sample::atlas_data({32, 32, 8, 100, 1}), {}, {2, 5, {}, {}}, wide)});
  out.push_back({"atlas-shared", atlas(sample::atlas_data({8, 8, 2, 60, 2}), {}, {2, 5, {}, {}}, wide)});
  out.push_back({"map", map(sample::map_data({}, 2, 5), {}, {2, 5, 33, 14}, wide)});
  out.push_back({"map-zoom", map(sample::map_data({}, 2, 5), {true, 30, 50, 5, 20}, {2, 5, 33, 14}, wide)});
  MapData hard = sample::map_data({5, 8, 4, 34, 2}, 1, 3);
  hard.pieces = sample::hard_pieces(34);
  out.push_back({"map-hard", map(hard, {}, {1, 3, 20, 4}, wide)});
  out.push_back({"kv", kv(sample::kv_data({}), {}, {}, small)});
  out.push_back({"kv-long", kv(sample::kv_data({32, 32, 8, 2048, 1}), {}, {}, wide)});
  out.push_back({"kv-strip", kv(sample::kv_data({}), {}, {}, strip)});
  return out;
}

/// Pixels of the figure's images that nothing lies on and that differ by more than `allowed`.
int64_t different_cells(const Figure& figure, const Raster& seen, const Raster& expected, double scale, int allowed) {
  const TextMeasurer text;
  std::vector<int> state(static_cast<size_t>(seen.width * seen.height));  // 1: an image, 0: anything else
  const auto mark = [&](const Box& box, int value) {
    for (int64_t y = std::max<int64_t>(0, std::lround(box.y * scale));
         y < std::min<int64_t>(seen.height, std::lround(box.bottom() * scale)); ++y) {
      for (int64_t x = std::max<int64_t>(0, std::lround(box.x * scale));
           x < std::min<int64_t>(seen.width, std::lround(box.right() * scale)); ++x) {
        state[static_cast<size_t>(y * seen.width + x)] = value;
      }
    }
  };
  for (const Primitive& p : figure.primitives) {
    if (const auto* image = std::get_if<ImageMark>(&p.shape)) {
      mark(image->box, 1);
    } else if (const auto* rect = std::get_if<RectMark>(&p.shape); rect != nullptr && !rect->fill && rect->stroke) {
      const Box& b = rect->box;
      const double w = rect->stroke_width + 1;
      for (const Box& side :
           {Box{b.x - 1, b.y - 1, b.width + 2, w + 1}, Box{b.x - 1, b.bottom() - w, b.width + 2, w + 1},
            Box{b.x - 1, b.y, w + 1, b.height}, Box{b.right() - w, b.y, w + 1, b.height}}) {
        mark(side, 0);
      }
    } else if (rect == nullptr || rect->fill || rect->stroke) {
      mark(bounds(p, text).grown(2), 0);
    }
  }
  int64_t count = 0;
  for (int64_t y = 0; y < seen.height; ++y) {
    for (int64_t x = 0; x < seen.width; ++x) {
      count +=
          state[static_cast<size_t>(y * seen.width + x)] == 1 && difference(seen.at(x, y), expected.at(x, y)) > allowed;
    }
  }
  return count;
}

class Views : public testing::TestWithParam<double> {};

TEST_P(Views, LookLikeThePng) {
  const double scale = GetParam();
  Stage stage(1000, 700, scale);
  SKIP_WITHOUT_EGL(stage);
  for (const Sample& sample : samples(scale)) {
    stage.platform->resize(pixels(sample.figure.width, scale), pixels(sample.figure.height, scale));
    for (const Theme theme : both_themes) {
      const std::string name = fmt::format("{}-{}-{}", sample.name, theme == Theme::dark ? "dark" : "light", scale);
      const Raster seen = stage.painted(sample.figure, theme, sample.name),
                   expected = rasterise(sample.figure, theme, scale);
      save_picture(name, seen);
      EXPECT_LT(mean_difference(seen, expected), 0.35) << name;
      EXPECT_EQ(different_cells(sample.figure, seen, expected, scale, 4), 0) << name;
      const auto many = static_cast<int64_t>(static_cast<double>(seen.width * seen.height) * 0.002);
      EXPECT_LT(different_pixels(seen, expected, 64), many) << name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Scales, Views, testing::Values(1.0, 1.25, 2.0));

// --- text ---------------------------------------------------------------------------------------------------

TEST(Text, StandsWhereThePngHasIt) {
  const Rgb ground = colour(ColourRole::panel, Theme::dark);
  for (const double scale : {1.0, 1.25, 2.0}) {
    Stage stage(pixels(400, scale), pixels(400, scale), scale);
    SKIP_WITHOUT_EGL(stage);
    uint64_t version = 0;
    for (const TextRole role : {TextRole::title, TextRole::text, TextRole::caption, TextRole::label, TextRole::number,
                                TextRole::number_small}) {
      for (const Anchor anchor : {Anchor::start, Anchor::middle, Anchor::end}) {
        for (const bool upward : {false, true}) {
          for (const std::string& text :
               {std::string("Hamburgefonstiv, 0.412"), std::string("\u00B7Lily \u21B5 \U0001F600")}) {
            Figure figure = blank(400, 400);
            figure.add(TextMark{{200.3, 201.7}, text, role, {ColourRole::text}, anchor, upward});
            const Raster seen = stage.painted(figure, Theme::dark, "text", ++version);
            const Raster expected = rasterise(figure, Theme::dark, scale);
            const Box a = ink_box(seen, ground, 40), b = ink_box(expected, ground, 40);
            const std::string what = fmt::format("{} role {} anchor {} upward {} scale {}", text,
                                                 static_cast<int>(role), static_cast<int>(anchor), upward, scale);
            ASSERT_GT(b.width, 0) << what;
            EXPECT_NEAR(a.x, b.x, 1) << what;
            EXPECT_NEAR(a.y, b.y, 1) << what;
            EXPECT_NEAR(a.right(), b.right(), 1) << what;
            EXPECT_NEAR(a.bottom(), b.bottom(), 1) << what;
            // Upward letters are not hinted in PNG.
            EXPECT_LT(mean_difference(seen, expected), upward ? 0.35 : 0.1) << what;
          }
        }
      }
    }
  }
}

TEST(Text, AdvancesAreTheMeasurers) {
  const TextMeasurer measurer;
  const std::string text = "Layer 2, head 5 looks at \u201CLily\u201D \u21B5 0.412 \u6587 \U0001F600";
  for (const double scale : {1.0, 1.1, 1.25, 1.6, 2.0}) {
    Stage stage(64, 64, scale);
    SKIP_WITHOUT_EGL(stage);
    for (const TextRole role : {TextRole::title, TextRole::text, TextRole::caption, TextRole::label, TextRole::number,
                                TextRole::number_small}) {
      stage.frame([&](ImDrawList&) {
        const PushFont font(*stage.fonts, role, scale);
        const double width = ImGui::GetFont()->CalcTextSizeA(ImGui::GetFontSize(), FLT_MAX, 0, text.c_str()).x;
        EXPECT_NEAR(width, measurer.width(text, role) * scale, 0.01) << scale;
        EXPECT_EQ(ImGui::GetFontSize(), std::round(stage.fonts->size(role, scale)));
      });
    }
  }
}

TEST(Text, WidgetLettersFollowAChangeOfScale) {
  const TextMeasurer measurer;
  Stage stage(64, 64, 1);
  SKIP_WITHOUT_EGL(stage);
  for (const double scale : {1.0, 1.01, 1.02, 1.0}) {  // ImGui's sizes round to the same
    apply_style(Theme::dark, scale, ColourRole::model_a);
    stage.frame([&](ImDrawList&) {
      const double width = ImGui::GetFont()->CalcTextSizeA(ImGui::GetFontSize(), FLT_MAX, 0, "Hamburgefonstiv").x;
      EXPECT_NEAR(width, measurer.width("Hamburgefonstiv", TextRole::text) * scale, 0.01) << scale;
    });
  }
}

// --- images -------------------------------------------------------------------------------------------------

TEST(Images, AreThePngsCells) {
  for (const double scale : {1.0, 1.5, 2.0}) {
    for (const Theme theme : both_themes) {
      Figure figure = blank(300, 200);
      figure.add(ImageMark{{10, 10, 90, 90}, random_grid(30, 30, 1), {Ramp::attention, 0, 1, false}});
      figure.add(ImageMark{{110.3, 10.6, 83.2, 77.7}, random_grid(13, 29, 2), {Ramp::attention, 0.001, 1, true}});
      figure.add(ImageMark{{200, 10, 90, 90}, random_grid(200, 300, 3), {Ramp::difference, -1, 1, false}});
      figure.add(ImageMark{{10, 110, 250, 80}, random_grid(4, 5, 4), {Ramp::attention, 0.2, 0.7, false}});
      expect_same(figure, scale, theme, 60);  // a logarithm of the shader may round to the next of 1,024 steps
    }
  }
}

TEST(Images, NaNAndValuesOutsideTheRangeHaveTheirColours) {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  for (const bool logarithmic : {false, true}) {
    for (const Theme theme : both_themes) {
      Figure figure = blank(90, 60);
      figure.add(ImageMark{{0, 0, 90, 60},
                           Grid::of(2, 4, {nan, -nan, inf, -inf, 0, 0.5f, 2, 1e-30f}),
                           {Ramp::attention, 0.25, 1, logarithmic}});
      figure.add(ImageMark{{0, 30, 10, 10}, Grid::of(1, 1, {0.5f}), {Ramp::attention, 0.5, 0.5, false}});
      expect_same(figure, 1, theme);
    }
  }
  FigureStage stage(blank(90, 60));
  SKIP_WITHOUT_EGL(stage);
  Figure figure = blank(90, 60);
  figure.add(ImageMark{{0, 0, 90, 60}, Grid::of(1, 1, {nan}), {}});
  EXPECT_EQ(stage.painted(figure, Theme::dark).at(5, 5), colour(ColourRole::invalid, Theme::dark));
}

TEST(Images, ThousandsShareOneTexture) {
  Figure figure = blank(1000, 700);
  for (unsigned i = 0; i < 3000; ++i) {
    const double x = 5 + (i % 60) * 16.5, y = 5 + i / 60 * 13.8;
    figure.add(ImageMark{{x, y, 14, 12}, random_grid(7 + i % 5, 9 + i % 3, i), {Ramp::attention, 0, 1, false}});
  }
  expect_same(figure, 1, Theme::dark, 20);
}

TEST(Images, PartsOfASharedGridAndEmptyOnes) {
  const Grid whole = random_grid(50, 60, 5);
  Figure figure = blank(300, 200);
  figure.add(ImageMark{{10, 10, 80, 80}, whole.part(10, 20, 16, 20), {}});
  figure.add(ImageMark{{100, 10, 80, 80}, Grid{}, {}});
  figure.add(ImageMark{{100, 10, 0, 80}, whole, {}});
  figure.add(ImageMark{{190, 10, 80, 80}, whole.part(0, 0, 1, 1), {}});
  figure.add(ImageMark{{250, 150, 80, 80}, whole.part(5, 0, 7, 60), {}});  // partly outside the figure
  expect_same(figure);
}

TEST(Images, GridsOfMoreCellsThanPixelsAreReducedToThePixels) {
  Figure figure = blank(400, 300);
  figure.add(ImageMark{{10, 10, 251, 233}, random_grid(4000, 5000, 6), {}});  // 20 M cells
  figure.add(ImageMark{{270, 10, 100, 50}, random_grid(5, 10, 7), {}});
  FigureStage stage(figure);
  SKIP_WITHOUT_EGL(stage);
  EXPECT_EQ(different_pixels(stage.painted(figure, Theme::dark), rasterise(figure, Theme::dark), 2), 0);
  EXPECT_LT(stage.painter->texture_bytes(), size_t{1} << 20);
  // At another scale other cells lie under the pixels.
  stage.platform->resize(800, 600);
  const Raster seen = stage.frame([&](ImDrawList& list) {
    stage.painter->paint(figure, "stage", 1, list, {0, 0}, 2, Theme::dark);
  });
  EXPECT_EQ(different_pixels(seen, rasterise(figure, Theme::dark, 2), 2), 0);
}

TEST(Images, GridsMayBeLongerThanATextureIsWide) {
  Figure figure = blank(400, 300);
  figure.add(ImageMark{{10, 10, 380, 20}, random_grid(1, 50000, 8), {}});
  figure.add(ImageMark{{10, 40, 20, 250}, random_grid(70001, 2, 9), {}});
  FigureStage stage(figure);
  SKIP_WITHOUT_EGL(stage);
  EXPECT_EQ(different_pixels(stage.painted(figure, Theme::dark), rasterise(figure, Theme::dark), 2), 0);
}

TEST(Images, LieInTheOrderOfThePrimitives) {
  Figure figure = blank(200, 100);
  figure.add(ImageMark{{10, 10, 80, 80}, random_grid(4, 4, 1), {}});
  figure.add(RectMark{{20, 20, 120, 60}, Paint{ColourRole::raised}, {}});
  figure.add(ImageMark{{100, 30, 30, 30}, random_grid(4, 4, 2), {}});  // over the box
  figure.add(ImageMark{{30, 30, 30, 30}, random_grid(4, 4, 3), {}});
  figure.add(LineMark{{0, 50.5}, {200, 50.5}, {ColourRole::selection}, 1});
  figure.add(ImageMark{{150, 40, 30, 30}, random_grid(4, 4, 4), {}});
  expect_same(figure);
  expect_same(figure, 2);
}

TEST(Images, AreTakenAgainWhenTheVersionChanges) {
  Figure first = blank(80, 80), second = blank(80, 80);
  first.add(ImageMark{{0, 0, 80, 80}, random_grid(8, 8, 1), {}});
  second.add(ImageMark{{0, 0, 80, 80}, random_grid(8, 8, 2), {}});
  FigureStage stage(first);
  SKIP_WITHOUT_EGL(stage);
  const Raster expected_first = rasterise(first, Theme::dark), expected_second = rasterise(second, Theme::dark);
  EXPECT_EQ(different_pixels(stage.painted(first, Theme::dark, "a", 1), expected_first, 0), 0);
  EXPECT_EQ(different_pixels(stage.painted(second, Theme::dark, "a", 1), expected_first, 0), 0) << "not taken again";
  EXPECT_EQ(different_pixels(stage.painted(second, Theme::dark, "a", 2), expected_second, 0), 0);
  EXPECT_EQ(different_pixels(stage.painted(first, Theme::dark, "b", 2), expected_first, 0), 0);
  EXPECT_EQ(different_pixels(stage.painted(second, Theme::dark, "a", 2), expected_second, 0), 0);
  // Range and ramp need no new version.
  std::get<ImageMark>(second.primitives[0].shape).scale = {Ramp::difference, -1, 1, false};
  EXPECT_EQ(different_pixels(stage.painted(second, Theme::light, "a", 2), rasterise(second, Theme::light), 0), 0);
}

TEST(Images, PlacesNoLongerShownGiveTheirTexturesBack) {
  Figure figure = blank(80, 80);
  figure.add(ImageMark{{0, 0, 80, 80}, random_grid(300, 300, 1), {}});
  FigureStage stage(figure);
  SKIP_WITHOUT_EGL(stage);
  const size_t none = stage.painter->texture_bytes();
  stage.painted(figure, Theme::dark, "first", 1);
  const size_t one = stage.painter->texture_bytes();
  for (int i = 0; i < 20; ++i) stage.painted(figure, Theme::dark, fmt::format("place {}", i), 1);
  EXPECT_EQ(stage.painter->texture_bytes() - none, 21 * (one - none));
  for (uint64_t i = 0; i < 300; ++i) stage.painted(figure, Theme::dark, "first", i);
  EXPECT_EQ(stage.painter->texture_bytes(), one);
}

// --- shapes -------------------------------------------------------------------------------------------------

TEST(Shapes, BoxesAndLevelLinesAreThePngs) {
  Figure figure = blank(200, 200);
  figure.add(RectMark{{10, 10, 50, 30}, Paint{ColourRole::model_a}, Paint{ColourRole::text}, 2});
  figure.add(RectMark{{70.25, 10.5, 50.5, 30.25}, Paint{ColourRole::model_b, 0.7}, {}});
  figure.add(RectMark{{130.5, 10.5, 0.5, 30}, Paint{ColourRole::text}, {}});
  figure.add(RectMark{{140, 10, 40, 30}, {}, Paint{ColourRole::selection, 0.5}, 1.5});
  figure.add(LineMark{{10, 60.5}, {190, 60.5}, {ColourRole::line}, 1});
  figure.add(LineMark{{20, 70}, {20, 120}, {ColourRole::dim, 0.6}, 3});
  figure.add(LineMark{{30, 70.3}, {90, 70.3}, {ColourRole::text}, 1});
  figure.add(
      PolylineMark{{{40.5, 80.5}, {60.5, 80.5}, {60.5, 95.5}, {90.5, 95.5}, {90.5, 85.5}}, {ColourRole::warning}, 1});
  figure.add(
      PolygonMark{{{100, 70}, {130, 70}, {130, 90}, {160, 90}, {160, 110}, {100, 110}}, {ColourRole::category_1}});
  for (const Theme theme : both_themes) {
    for (const double scale : {1.0, 1.25, 2.0}) {
      FigureStage stage(figure, scale);
      SKIP_WITHOUT_EGL(stage);
      const Raster seen = stage.painted(figure, theme), expected = rasterise(figure, theme, scale);
      // Corners of lines between pixels are covered twice, and edges inside an outline stand on whole pixels.
      EXPECT_LE(different_pixels(seen, expected, 6), scale == 1.25 ? 40 : 0) << scale;
      EXPECT_EQ(different_pixels(seen, expected, 128), 0) << scale;
    }
  }
}

TEST(Shapes, SlantedAndRoundOnesAreNearThePngs) {
  Figure figure = blank(200, 200);
  figure.add(RectMark{{10, 10, 60, 40}, Paint{ColourRole::raised}, Paint{ColourRole::model_a}, 2, 8});
  figure.add(RectMark{{80, 10, 20, 20}, Paint{ColourRole::text}, {}, 1, 50});
  figure.add(LineMark{{110, 10}, {180, 45}, {ColourRole::text}, 2});
  figure.add(LineMark{{110, 50}, {120, 90}, {ColourRole::text, 0.5}, 5});
  figure.add(PolylineMark{{{10, 60}, {40, 90}, {60, 65}, {90, 95}, {100, 60}}, {ColourRole::model_b}, 2});
  figure.add(PolygonMark{{{10, 100}, {60, 100}, {35, 150}}, {ColourRole::category_2}});
  figure.add(PolygonMark{{{70, 150}, {85, 100}, {100, 150}, {85, 130}}, {ColourRole::category_3}});  // concave
  figure.add(PolygonMark{{{85, 185}, {70, 160}, {100, 160}}, {ColourRole::category_4, 0.5}});  // the other way round
  figure.add(PolygonMark{{{110, 190}, {190, 150}, {190, 190}}, {ColourRole::category_5}});     // a chart's area
  figure.add(PolygonMark{{{110, 140.2}, {190, 139.8}, {190, 140.3}, {110, 140.5}}, {ColourRole::text}});  // a sliver
  for (const double scale : {1.0, 2.0}) {
    FigureStage stage(figure, scale);
    SKIP_WITHOUT_EGL(stage);
    const Raster seen = stage.painted(figure, Theme::dark), expected = rasterise(figure, Theme::dark, scale);
    save_picture(fmt::format("shapes-{}", scale), seen);
    save_picture(fmt::format("shapes-{}-png", scale), expected);
    EXPECT_LT(mean_difference(seen, expected), 0.5) << scale;
    EXPECT_LT(different_pixels(seen, expected, 90), 30 * scale) << scale;
  }
}

TEST(Shapes, DegenerateOnesDrawNothingAndHarmNothing) {
  Figure figure = blank(64, 64);
  const Paint paint{ColourRole::text};
  figure.add(LineMark{{10, 10}, {10, 10}, paint, 3});
  figure.add(PolylineMark{{}, paint, 1});
  figure.add(PolylineMark{{{5, 5}}, paint, 1});
  figure.add(PolylineMark{{{5, 5}, {5, 5}, {5, 5}}, paint, 1});
  figure.add(PolygonMark{{}, paint});
  figure.add(PolygonMark{{{5, 5}, {20, 20}}, paint});
  figure.add(PolygonMark{{{5, 5}, {5, 5}, {5, 5}}, paint});
  figure.add(RectMark{{5, 5, -10, 10}, paint, {}});
  figure.add(RectMark{{5, 5, 0, 0}, paint, paint, 1, 4});
  figure.add(RectMark{{5, 5, 30, 30}, {}, {}});
  figure.add(TextMark{{5, 5}, "", TextRole::text, paint});
  FigureStage stage(figure);
  SKIP_WITHOUT_EGL(stage);
  const Raster seen = stage.painted(figure, Theme::dark);
  EXPECT_EQ(different_pixels(seen, stage.painted(blank(64, 64), Theme::dark), 0), 0);
}

TEST(Painter, AnEmptyFigureIsItsBackground) {
  FigureStage stage(blank(50, 40));
  SKIP_WITHOUT_EGL(stage);
  Figure figure = blank(50, 40);
  figure.background = ColourRole::raised;
  EXPECT_EQ(different_pixels(stage.painted(figure, Theme::light), rasterise(figure, Theme::light), 0), 0);
  EXPECT_EQ(different_pixels(stage.painted(blank(0, 0), Theme::light), stage.frame([](ImDrawList&) {}), 0), 0);
}

TEST(Painter, StaysInTheClipRectangleAndMovesWithItsOrigin) {
  Figure figure = blank(200, 150);
  figure.add(ImageMark{{10, 10, 180, 100}, random_grid(30, 40, 1), {}});
  figure.add(TextMark{{10, 130}, "a caption that is cut", TextRole::text, {ColourRole::text}});
  figure.add(PolygonMark{{{10, 10}, {190, 10}, {100, 140}}, {ColourRole::model_b, 0.5}});
  Stage stage(400, 300);
  SKIP_WITHOUT_EGL(stage);
  const Rgb ground{1, 2, 3};
  const Raster whole = stage.frame(
      [&](ImDrawList& list) {
        stage.painter->paint(figure, "a", 1, list, {100.4f, 50.3f}, 1, Theme::dark);
      },
      ground);
  const Raster cut = stage.frame(
      [&](ImDrawList& list) {
        list.PushClipRect({130, 90}, {250, 185});
        stage.painter->paint(figure, "a", 1, list, {100.4f, 50.3f}, 1, Theme::dark);
        list.PopClipRect();
      },
      ground);
  const Raster expected = rasterise(figure, Theme::dark);
  int64_t wrong = 0;
  for (int64_t y = 0; y < 300; ++y) {
    for (int64_t x = 0; x < 400; ++x) {
      const bool inside = x >= 130 && x < 250 && y >= 90 && y < 185;
      wrong += cut.at(x, y) != (inside ? whole.at(x, y) : ground);
    }
  }
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(whole.at(99, 60), ground);
  EXPECT_EQ(whole.at(300, 60), ground);
  for (int64_t x = 12; x < 188; ++x) EXPECT_LE(difference(whole.at(100 + x, 50 + 100), expected.at(x, 100)), 6) << x;
}

TEST(Painter, TwoPlacesInOneFrameAndWidgetsAroundThem) {
  Figure left = blank(100, 100), right = blank(100, 100);
  left.add(ImageMark{{10, 10, 80, 80}, random_grid(8, 8, 1), {}});
  right.add(ImageMark{{10, 10, 80, 80}, random_grid(9, 9, 2), {Ramp::difference, -1, 1, false}});
  Stage stage(320, 100);
  SKIP_WITHOUT_EGL(stage);
  const Raster seen = stage.frame([&](ImDrawList& list) {
    stage.painter->paint(left, "left", 1, list, {0, 0}, 1, Theme::dark);
    ImGui::GetForegroundDrawList()->AddRectFilled({100, 0}, {120, 100}, to_u32(ColourRole::warning, Theme::dark));
    stage.painter->paint(right, "right", 1, list, {120, 0}, 1, Theme::light);
    stage.painter->paint(left, "left", 1, list, {220, 0}, 1, Theme::dark);  // once more
  });
  const Raster a = rasterise(left, Theme::dark), b = rasterise(right, Theme::light);
  int64_t wrong = 0;
  for (int64_t y = 0; y < 100; ++y) {
    for (int64_t x = 0; x < 100; ++x) {
      wrong += seen.at(x, y) != a.at(x, y) || seen.at(120 + x, y) != b.at(x, y) || seen.at(220 + x, y) != a.at(x, y);
    }
  }
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(seen.at(110, 50), colour(ColourRole::warning, Theme::dark));
}

}  // namespace
}  // namespace headscope::gui
