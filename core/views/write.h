#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/views/figure.h"

namespace headscope {

/// Limits of a picture: each side in pixels after scaling, and both multiplied.
inline constexpr int64_t smallest_side = 16;
inline constexpr int64_t largest_side = 16384;
inline constexpr int64_t largest_area = int64_t{1} << 27;

/// Throws Error unless a picture of width x height px at `scale` (1 to 4) is within the limits.
void check_picture_size(double width, double height, double scale);

/// 8-bit RGB, rows from the top, no padding.
struct Raster {
  int64_t width = 0, height = 0;
  std::vector<uint8_t> rgb;

  Rgb at(int64_t x, int64_t y) const {
    const uint8_t* p = rgb.data() + (y * width + x) * 3;
    return {p[0], p[1], p[2]};
  }
};

/// Draws the figure at round(width * scale) x round(height * scale) pixels.
Raster rasterise(const Figure&, Theme, double scale = 1);

/// The bytes of a PNG file.
std::string png_bytes(const Raster&);

/// A standalone SVG 1.1 file: text as text with its measured length, images as embedded PNG, tooltips as titles.
std::string svg_text(const Figure&, Theme, double scale = 1);

/// The figure's table as CSV: UTF-8, header "name (unit)", '.' as decimal point, NaN as NaN; text starting with
/// = + - @, tab or carriage return gets a leading apostrophe, so that no spreadsheet runs it; bytes that are not
/// UTF-8, and NUL, become U+FFFD.
std::string csv_text(const Table&);

/// Writes `figure` as the ending of `path` says, .svg, .png or .csv, whole or not at all (atomic_file.h).
/// Throws Error for another ending, a size outside the limits or a failed write.
void write_figure(const Figure& figure, const std::filesystem::path& path, Theme theme, double scale = 1);

/// Throws Error unless `path` ends in .svg, .png or .csv, so that a command can refuse before it works.
void check_figure_path(const std::filesystem::path& path);

}  // namespace headscope
