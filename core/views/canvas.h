#pragma once

#include <span>

#include "core/views/font_faces.h"
#include "core/views/write.h"

namespace headscope {

/// An RGB picture in memory and the shapes it can draw, anti-aliased, blended in sRGB as browsers do. All
/// coordinates are device pixels. Internal to the PNG writer.
class Canvas {
 public:
  Canvas(int64_t width, int64_t height, Rgb background);

  /// Rectangle with exact coverage at fractional edges.
  void fill_box(const Box&, Rgb, double opacity);
  /// Outlines filled together by the non-zero rule. Throws Error for one of more than 30,000 points.
  void fill_polygons(std::span<const std::vector<Point>>, Rgb, double opacity);
  /// Each cell of the grid over an even part of the box; pixels are taken whole, by their centre.
  void draw_image(const Box&, const Grid&, const CellColours&);
  /// `at` is the left end of the baseline (the lower end when upward); `size` is the em in pixels.
  void draw_text(Point at, std::string_view utf8, Font, double size, bool upward, Rgb, double opacity);

  Raster take() { return std::move(raster_); }

 private:
  void blend(int64_t x, int64_t y, Rgb, double alpha);
  /// False when FreeType gave up.
  bool fill_outline(FT_Outline&, Rgb, double opacity);

  Raster raster_;
  FontFaces fonts_;
};

}  // namespace headscope
