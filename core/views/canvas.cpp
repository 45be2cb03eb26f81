#include "core/views/canvas.h"

#include FT_OUTLINE_H

#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "core/views/utf8.h"

namespace headscope {
namespace {

FT_Pos fixed(double pixels) { return std::lround(pixels * 64); }

/// Part of the pixel [i, i + 1) that lies in [begin, end).
double covered(int64_t i, double begin, double end) {
  const double low = static_cast<double>(i);
  return std::clamp(std::min(end, low + 1) - std::max(begin, low), 0.0, 1.0);
}

}  // namespace

Canvas::Canvas(int64_t width, int64_t height, Rgb background) : raster_{width, height, {}} {
  raster_.rgb.resize(static_cast<size_t>(width * height * 3));
  for (size_t i = 0; i < raster_.rgb.size(); i += 3) {
    raster_.rgb[i] = background.r, raster_.rgb[i + 1] = background.g, raster_.rgb[i + 2] = background.b;
  }
}

void Canvas::blend(int64_t x, int64_t y, Rgb c, double alpha) {
  if (x < 0 || y < 0 || x >= raster_.width || y >= raster_.height || alpha <= 0) return;
  uint8_t* p = raster_.rgb.data() + (y * raster_.width + x) * 3;
  const auto mix = [&](uint8_t below, uint8_t above) {
    return static_cast<uint8_t>(std::lround(below + (above - below) * alpha));
  };
  p[0] = mix(p[0], c.r), p[1] = mix(p[1], c.g), p[2] = mix(p[2], c.b);
}

void Canvas::fill_box(const Box& box, Rgb c, double opacity) {
  const auto begin = [](double v) { return std::max<int64_t>(0, static_cast<int64_t>(std::floor(v))); };
  const auto end = [](double v, int64_t limit) { return std::min(limit, static_cast<int64_t>(std::ceil(v))); };
  for (int64_t y = begin(box.y); y < end(box.bottom(), raster_.height); ++y) {
    const double rows = covered(y, box.y, box.bottom()) * opacity;
    for (int64_t x = begin(box.x); x < end(box.right(), raster_.width); ++x) {
      blend(x, y, c, rows * covered(x, box.x, box.right()));
    }
  }
}

bool Canvas::fill_outline(FT_Outline& outline, Rgb c, double opacity) {
  FT_BBox box;
  FT_Outline_Get_CBox(&outline, &box);
  // FreeType's y points up; outlines here are given with y negated, so row r of the picture is -r.
  const int64_t left = std::max<int64_t>(0, box.xMin >> 6);
  const int64_t right = std::min<int64_t>(raster_.width, (box.xMax + 63) >> 6);
  const int64_t top = std::max<int64_t>(0, -((box.yMax + 63) >> 6));
  const int64_t bottom = std::min<int64_t>(raster_.height, -(box.yMin >> 6));
  if (left >= right || top >= bottom) return true;
  // FreeType 2.12 runs out of cells when one row of pixels has about a thousand corners, so: narrow strips.
  constexpr int64_t strip = 128;
  std::vector<uint8_t> cover(static_cast<size_t>(std::min(strip, right - left) * (bottom - top)));
  FT_Bitmap bitmap{};
  bitmap.rows = static_cast<unsigned>(bottom - top);
  bitmap.buffer = cover.data();
  bitmap.num_grays = 256;
  bitmap.pixel_mode = FT_PIXEL_MODE_GRAY;
  FT_Outline_Translate(&outline, -left * 64, bottom * 64);
  for (int64_t x0 = left; x0 < right; x0 += strip) {
    const int64_t width = std::min(strip, right - x0);
    bitmap.width = static_cast<unsigned>(width);
    bitmap.pitch = static_cast<int>(width);
    std::ranges::fill(cover, uint8_t{0});
    if (FT_Outline_Get_Bitmap(fonts_.library(), &outline, &bitmap) != 0) return false;
    FT_Outline_Translate(&outline, -strip * 64, 0);
    for (int64_t y = top; y < bottom; ++y) {
      const uint8_t* row = cover.data() + (y - top) * width;
      for (int64_t x = 0; x < width; ++x) blend(x0 + x, y, c, row[x] / 255.0 * opacity);
    }
  }
  return true;
}

void Canvas::fill_polygons(std::span<const std::vector<Point>> polygons, Rgb c, double opacity) {
  constexpr size_t most_points = 30000;  // FreeType counts an outline's points in 16 bits
  for (size_t next = 0; next < polygons.size();) {
    std::vector<FT_Vector> points;
    std::vector<short> ends;
    for (; next < polygons.size() && points.size() + polygons[next].size() <= most_points; ++next) {
      if (polygons[next].empty()) continue;
      for (const Point& p : polygons[next]) points.push_back({fixed(p.x), -fixed(p.y)});
      ends.push_back(static_cast<short>(points.size() - 1));
    }
    const bool too_many = points.empty() && next < polygons.size();
    std::vector<char> tags(points.size(), FT_CURVE_TAG_ON);
    FT_Outline outline{};
    outline.n_contours = static_cast<short>(ends.size());
    outline.n_points = static_cast<short>(points.size());
    outline.points = points.data();
    outline.tags = tags.data();
    outline.contours = ends.data();
    if (too_many || !fill_outline(outline, c, opacity)) {
      fail("a shape of {} corners has too many to be drawn.", too_many ? polygons[next].size() : points.size());
    }
  }
}

void Canvas::draw_image(const Box& box, const Grid& grid, const CellColours& colour_of) {
  if (grid.empty() || box.width <= 0 || box.height <= 0) return;
  const auto first = [](double v) { return std::max<int64_t>(0, static_cast<int64_t>(std::ceil(v - 0.5))); };
  const int64_t right = std::min(raster_.width, first(box.right())),
                bottom = std::min(raster_.height, first(box.bottom()));
  const auto cell = [](int64_t pixel, double begin, double size, int64_t count) {
    const double along = (static_cast<double>(pixel) + 0.5 - begin) / size * static_cast<double>(count);
    return std::clamp<int64_t>(static_cast<int64_t>(along), 0, count - 1);
  };
  for (int64_t y = first(box.y); y < bottom; ++y) {
    const int64_t row = cell(y, box.y, box.height, grid.rows);
    for (int64_t x = first(box.x); x < right; ++x) {
      const float value = grid.at(row, cell(x, box.x, box.width, grid.cols));
      blend(x, y, colour_of(static_cast<double>(value)), 1);
    }
  }
}

void Canvas::draw_text(Point at, std::string_view utf8, Font font, double size, bool upward, Rgb c, double opacity) {
  // Letters stand on a whole pixel and keep fractional places along the line: crisp stems, even spacing.
  (upward ? at.x : at.y) = std::round(upward ? at.x : at.y);
  FT_Matrix quarter_left{0, -0x10000, 0x10000, 0};
  for (size_t i = 0; i < utf8.size();) {
    const FontFaces::Glyph glyph = fonts_.glyph(font, next_code_point(utf8, i));
    const FT_Int32 flags = FT_LOAD_NO_BITMAP | (upward ? FT_LOAD_NO_HINTING : FT_LOAD_TARGET_LIGHT);
    const bool loaded = FT_Set_Char_Size(glyph.face, fixed(size), fixed(size), 72, 72) == 0 &&
                        FT_Load_Glyph(glyph.face, glyph.index, flags) == 0 &&
                        glyph.face->glyph->format == FT_GLYPH_FORMAT_OUTLINE;
    if (loaded && glyph.face->glyph->outline.n_points > 0) {
      FT_Outline& outline = glyph.face->glyph->outline;
      if (upward) FT_Outline_Transform(&outline, &quarter_left);
      FT_Outline_Translate(&outline, fixed(at.x), -fixed(at.y));
      fill_outline(outline, c, opacity);
    }
    (upward ? at.y : at.x) += (upward ? -1 : 1) * glyph.advance * size;
  }
}

}  // namespace headscope
