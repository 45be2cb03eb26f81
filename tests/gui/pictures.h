#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>

#include "core/views/write.h"

/// Comparing what the window shows with what the PNG writer draws.
namespace headscope::gui {

/// Writes a picture for people to look at, into the tests' temporary folder.
inline void save_picture(const std::string& name, const Raster& raster) {
  const auto folder = std::filesystem::path(testing::TempDir()) / "headscope-paint";
  std::filesystem::create_directories(folder);
  std::ofstream(folder / (name + ".png"), std::ios::binary) << png_bytes(raster);
}

inline int difference(Rgb a, Rgb b) {
  return std::max({std::abs(a.r - b.r), std::abs(a.g - b.g), std::abs(a.b - b.b)});
}

/// Mean over all channels, 0 to 255.
inline double mean_difference(const Raster& a, const Raster& b) {
  EXPECT_EQ(a.width, b.width);
  EXPECT_EQ(a.height, b.height);
  if (a.rgb.size() != b.rgb.size()) return 255;
  double sum = 0;
  for (size_t i = 0; i < a.rgb.size(); ++i) sum += std::abs(int{a.rgb[i]} - int{b.rgb[i]});
  return sum / static_cast<double>(a.rgb.size());
}

/// Pixels that differ by more than `allowed` in some channel.
inline int64_t different_pixels(const Raster& a, const Raster& b, int allowed) {
  int64_t count = 0;
  for (int64_t y = 0; y < a.height; ++y) {
    for (int64_t x = 0; x < a.width; ++x) count += difference(a.at(x, y), b.at(x, y)) > allowed;
  }
  return count;
}

/// The box around all pixels that differ from `ground` by at least `contrast`.
inline Box ink_box(const Raster& raster, Rgb ground, int contrast) {
  int64_t left = raster.width, top = raster.height, right = 0, bottom = 0;
  for (int64_t y = 0; y < raster.height; ++y) {
    for (int64_t x = 0; x < raster.width; ++x) {
      if (difference(raster.at(x, y), ground) < contrast) continue;
      left = std::min(left, x), right = std::max(right, x + 1);
      top = std::min(top, y), bottom = std::max(bottom, y + 1);
    }
  }
  if (right <= left) return {};
  return {static_cast<double>(left), static_cast<double>(top), static_cast<double>(right - left),
          static_cast<double>(bottom - top)};
}

}  // namespace headscope::gui
