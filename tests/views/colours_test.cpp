#include <gtest/gtest.h>

#include <cmath>

#include "core/views/colours.h"
#include "core/views/plot/ramp.h"

namespace headscope {
namespace {

constexpr Theme themes[] = {Theme::dark, Theme::light};

TEST(Colours, LightnessOfKnownColours) {
  EXPECT_NEAR(lightness({255, 255, 255}), 100, 1e-3);
  EXPECT_NEAR(lightness({0, 0, 0}), 0, 1e-9);
  EXPECT_NEAR(lightness({119, 119, 119}), 50.03, 0.01);  // published value of sRGB #777777
  EXPECT_NEAR(lightness({255, 0, 0}), 53.24, 0.01);
}

TEST(Colours, LabOfRedAndBack) {
  const Lab red = to_lab({255, 0, 0});
  EXPECT_NEAR(red.l, 53.24, 0.01);
  EXPECT_NEAR(red.a, 80.09, 0.02);
  EXPECT_NEAR(red.b, 67.20, 0.02);
  for (int i = 0; i < 256; i += 5) {
    const Rgb c{static_cast<uint8_t>(i), static_cast<uint8_t>(255 - i), static_cast<uint8_t>(i * 7 % 256)};
    EXPECT_EQ(from_lab(to_lab(c)), c) << i;
  }
}

TEST(Colours, ContrastOfBlackOnWhite) {
  EXPECT_NEAR(contrast({0, 0, 0}, {255, 255, 255}), 21, 1e-9);
  EXPECT_NEAR(contrast({118, 118, 118}, {255, 255, 255}), 4.54, 0.01);
}

TEST(Colours, TextAndAccentsStandOutOnEveryGround) {
  for (const Theme theme : themes) {
    for (const ColourRole ground : {ColourRole::window, ColourRole::panel, ColourRole::raised}) {
      for (const ColourRole role : {ColourRole::text, ColourRole::dim, ColourRole::model_a, ColourRole::model_b,
                                    ColourRole::warning, ColourRole::error}) {
        EXPECT_GE(contrast(colour(role, theme), colour(ground, theme)), 4.5)
            << static_cast<int>(role) << " on " << static_cast<int>(ground);
      }
      for (const ColourRole role : {ColourRole::category_1, ColourRole::category_2, ColourRole::category_3,
                                    ColourRole::category_4, ColourRole::category_5, ColourRole::category_6}) {
        EXPECT_GE(contrast(colour(role, theme), colour(ground, theme)), 4.2)
            << static_cast<int>(role) << " on " << static_cast<int>(ground);
      }
    }
    EXPECT_GE(contrast(colour(ColourRole::plate_text, theme), colour(ColourRole::plate, theme)), 4.5);
    for (const ColourRole ground : {ColourRole::window, ColourRole::panel, ColourRole::raised}) {
      EXPECT_GE(contrast(colour(ColourRole::selection, theme), colour(ground, theme)), 4.5);
    }
  }
}

/// The style table: role, dark, light.
TEST(Colours, RolesHaveTheTableValues) {
  struct Row {
    ColourRole role;
    uint32_t dark, light;
  };
  constexpr Row table[] = {{ColourRole::window, 0x14161A, 0xF3F4F7},     {ColourRole::panel, 0x1B1E24, 0xFFFFFF},
                           {ColourRole::raised, 0x252A32, 0xECEFF4},     {ColourRole::line, 0x323842, 0xD3D8E0},
                           {ColourRole::text, 0xE7EAF0, 0x1B1F27},       {ColourRole::dim, 0x9BA5B5, 0x586070},
                           {ColourRole::model_a, 0x4FC1B0, 0x07756A},    {ColourRole::model_b, 0xF2A65A, 0x9C4F05},
                           {ColourRole::warning, 0xE5C07B, 0x7F6100},    {ColourRole::error, 0xF07A82, 0xB3261E},
                           {ColourRole::category_1, 0x6EA0FF, 0x2B5FD9}, {ColourRole::category_2, 0xB98CFF, 0x7A3FD0},
                           {ColourRole::category_3, 0xFF7F9F, 0xC2255C}, {ColourRole::category_4, 0xB5D35A, 0x5F7A00},
                           {ColourRole::category_5, 0x6CCBFF, 0x1273B8}, {ColourRole::category_6, 0xD8C3A5, 0x7A5A3A}};
  const auto rgb = [](uint32_t c) {
    return Rgb{static_cast<uint8_t>(c >> 16), static_cast<uint8_t>(c >> 8), static_cast<uint8_t>(c)};
  };
  for (const Row& row : table) {
    EXPECT_EQ(colour(row.role, Theme::dark), rgb(row.dark)) << static_cast<int>(row.role);
    EXPECT_EQ(colour(row.role, Theme::light), rgb(row.light)) << static_cast<int>(row.role);
  }
}

TEST(Ramp, MeetsItsStops) {
  for (const Ramp ramp : {Ramp::attention, Ramp::difference}) {
    for (const Theme theme : themes) {
      const auto stops = ramp_stops(ramp, theme);
      for (size_t i = 0; i < stops.size(); ++i) {
        EXPECT_EQ(ramp_colour(ramp, theme, static_cast<double>(i) / static_cast<double>(stops.size() - 1)), stops[i]);
      }
    }
  }
  EXPECT_EQ(ramp_stops(Ramp::attention, Theme::dark)[3], (Rgb{0xD2, 0x4E, 0x4E}));
}

TEST(Ramp, AttentionChangesLightnessOneWayOnly) {
  for (const Theme theme : themes) {
    const double direction = theme == Theme::dark ? 1 : -1;
    double before = lightness(ramp_colour(Ramp::attention, theme, 0));
    for (int i = 1; i <= 100; ++i) {  // finer steps than this drown in 8-bit rounding
      const double now = lightness(ramp_colour(Ramp::attention, theme, i / 100.0));
      EXPECT_GT(direction * (now - before), 0) << "step " << i;
      before = now;
    }
    const auto stops = ramp_stops(Ramp::attention, theme);
    for (size_t i = 1; i < stops.size(); ++i) {
      const double step = direction * (lightness(stops[i]) - lightness(stops[i - 1]));
      EXPECT_GE(step, 7.5) << i;
      EXPECT_LE(step, 21.5) << i;
    }
  }
}

TEST(Ramp, DifferenceIsBalancedAroundThePanel) {
  for (const Theme theme : themes) {
    EXPECT_EQ(ramp_colour(Ramp::difference, theme, 0.5), colour(ColourRole::panel, theme));
    EXPECT_EQ(ramp_colour(Ramp::difference, theme, 0), colour(ColourRole::model_b, theme));
    EXPECT_EQ(ramp_colour(Ramp::difference, theme, 1), colour(ColourRole::model_a, theme));
  }
}

TEST(ColourScale, PlacesValues) {
  const ColourScale linear{Ramp::attention, 2, 4, false}, logarithmic{Ramp::attention, 0.01, 1, true};
  EXPECT_DOUBLE_EQ(linear.position(3), 0.5);
  EXPECT_DOUBLE_EQ(linear.position(1), 0);
  EXPECT_DOUBLE_EQ(linear.position(9), 1);
  EXPECT_NEAR(logarithmic.position(0.1), 0.5, 1e-12);
  EXPECT_DOUBLE_EQ(logarithmic.position(0), 0);
  EXPECT_DOUBLE_EQ(logarithmic.position(-1), 0);
  EXPECT_TRUE(std::isnan(linear.position(NAN)));
}

TEST(CellColours, MarksWhatIsNotANumber) {
  const ColourScale scale{Ramp::attention, 0, 1, false};
  for (const Theme theme : themes) {
    const CellColours colours(scale, theme);
    const Rgb marked = colours(NAN);
    EXPECT_EQ(marked, colour(ColourRole::invalid, theme));
    for (int i = 0; i <= 100; ++i) {
      const Lab a = to_lab(marked), b = to_lab(colours(i / 100.0));
      EXPECT_GT(std::hypot(a.l - b.l, a.a - b.a, a.b - b.b), 25) << i;  // ten times what an eye can just tell apart
    }
    EXPECT_EQ(colours(1), ramp_stops(Ramp::attention, theme).back());
    EXPECT_EQ(colours(0), ramp_stops(Ramp::attention, theme).front());
  }
}

}  // namespace
}  // namespace headscope
