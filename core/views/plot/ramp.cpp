#include "core/views/plot/ramp.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace headscope {
namespace {

constexpr std::array<Rgb, 6> attention_dark{{{0x16, 0x18, 0x1D},
                                             {0x3B, 0x1F, 0x5B},
                                             {0x8A, 0x2B, 0x6B},
                                             {0xD2, 0x4E, 0x4E},
                                             {0xF5, 0x97, 0x4C},
                                             {0xFB, 0xE4, 0xA8}}};
constexpr std::array<Rgb, 6> attention_light{{{0xFF, 0xFF, 0xFF},
                                              {0xFB, 0xE4, 0xA8},
                                              {0xF5, 0x97, 0x4C},
                                              {0xD2, 0x4E, 0x4E},
                                              {0x8A, 0x2B, 0x6B},
                                              {0x3B, 0x1F, 0x5B}}};
constexpr std::array<Rgb, 3> difference_dark{{{0xF2, 0xA6, 0x5A}, {0x1B, 0x1E, 0x24}, {0x4F, 0xC1, 0xB0}}};
constexpr std::array<Rgb, 3> difference_light{{{0x9C, 0x4F, 0x05}, {0xFF, 0xFF, 0xFF}, {0x07, 0x75, 0x6A}}};

}  // namespace

std::span<const Rgb> ramp_stops(Ramp ramp, Theme theme) {
  const bool dark = theme == Theme::dark;
  if (ramp == Ramp::difference) return dark ? difference_dark : difference_light;
  return dark ? attention_dark : attention_light;
}

Rgb ramp_colour(Ramp ramp, Theme theme, double position) {
  const auto stops = ramp_stops(ramp, theme);
  const double along = std::clamp(position, 0.0, 1.0) * static_cast<double>(stops.size() - 1);
  const size_t below = std::min(static_cast<size_t>(along), stops.size() - 2);
  const double part = along - static_cast<double>(below);
  const Lab a = to_lab(stops[below]), b = to_lab(stops[below + 1]);
  return from_lab({std::lerp(a.l, b.l, part), std::lerp(a.a, b.a, part), std::lerp(a.b, b.b, part)});
}

double ColourScale::position(double value) const {
  if (std::isnan(value)) return value;
  if (value <= lo) return 0;
  if (value >= hi) return 1;
  return logarithmic ? std::log(value / lo) / std::log(hi / lo) : (value - lo) / (hi - lo);
}

CellColours::CellColours(const ColourScale& scale, Theme theme)
    : scale_(scale), invalid_(colour(ColourRole::invalid, theme)) {
  constexpr int steps = 1024;
  for (int i = 0; i < steps; ++i) steps_.push_back(ramp_colour(scale.ramp, theme, i / (steps - 1.0)));
}

Rgb CellColours::operator()(double value) const {
  const double position = scale_.position(value);
  if (std::isnan(position)) return invalid_;
  return steps_[static_cast<size_t>(std::lround(position * static_cast<double>(steps_.size() - 1)))];
}

}  // namespace headscope
