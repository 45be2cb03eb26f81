#include <stb_image_write.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/base/error.h"
#include "core/views/canvas.h"

namespace headscope {
namespace {

/// Draws primitives scaled to device pixels.
class Rasteriser {
 public:
  Rasteriser(Canvas& canvas, const TextMeasurer& measurer, Theme theme, double scale)
      : canvas_(canvas), measurer_(measurer), theme_(theme), scale_(scale) {}

  void operator()(const TextMark& t) const {
    const double width = measurer_.width(t.text, t.role);
    const double before = t.anchor == Anchor::start ? 0 : t.anchor == Anchor::middle ? width / 2 : width;
    const Point start = t.upward ? Point{t.at.x, t.at.y + before} : Point{t.at.x - before, t.at.y};
    const TextStyle style = text_style(t.role);
    canvas_.draw_text({start.x * scale_, start.y * scale_}, t.text, style.font, style.size * scale_, t.upward,
                      rgb(t.paint), t.paint.opacity);
  }
  void operator()(const LineMark& l) const { stroke({l.from, l.to}, l.width, l.paint); }
  void operator()(const RectMark& r) const {
    if (r.corner > 0) {
      if (r.fill) fill({rounded(r.box, r.corner)}, *r.fill);
      if (r.stroke) {
        // The hole runs the other way round, so that the non-zero rule leaves it open.
        auto hole = rounded(r.box.grown(-r.stroke_width), std::max(0.0, r.corner - r.stroke_width));
        fill({rounded(r.box, r.corner), {hole.rbegin(), hole.rend()}}, *r.stroke);
      }
      return;
    }
    if (r.fill) box(r.box, *r.fill);
    if (r.stroke) {
      const double w = r.stroke_width;
      box({r.box.x, r.box.y, r.box.width, w}, *r.stroke);
      box({r.box.x, r.box.bottom() - w, r.box.width, w}, *r.stroke);
      box({r.box.x, r.box.y + w, w, r.box.height - 2 * w}, *r.stroke);
      box({r.box.right() - w, r.box.y + w, w, r.box.height - 2 * w}, *r.stroke);
    }
  }
  void operator()(const PolylineMark& p) const { stroke(p.points, p.width, p.paint); }
  void operator()(const PolygonMark& p) const { fill({p.points}, p.paint); }
  void operator()(const ImageMark& i) {
    if (!colours_ || colours_->scale() != i.scale) colours_.emplace(i.scale, theme_);
    canvas_.draw_image(scaled(i.box), i.grid, *colours_);
  }

 private:
  Rgb rgb(const Paint& paint) const { return colour(paint.role, theme_); }
  Box scaled(const Box& b) const { return {b.x * scale_, b.y * scale_, b.width * scale_, b.height * scale_}; }
  void box(const Box& b, const Paint& paint) const { canvas_.fill_box(scaled(b), rgb(paint), paint.opacity); }
  void fill(std::vector<std::vector<Point>> polygons, const Paint& paint) const {
    for (auto& polygon : polygons) {
      for (Point& p : polygon) p = {p.x * scale_, p.y * scale_};
    }
    canvas_.fill_polygons(polygons, rgb(paint), paint.opacity);
  }

  /// One quad a segment, longer by half the width at both ends, all turning the same way.
  void stroke(const std::vector<Point>& points, double width, const Paint& paint) const {
    std::vector<std::vector<Point>> quads;
    for (size_t i = 1; i < points.size(); ++i) {
      const Point a = points[i - 1], b = points[i];
      const double length = std::hypot(b.x - a.x, b.y - a.y);
      if (!(length > 0)) continue;
      const double ux = (b.x - a.x) / length * width / 2, uy = (b.y - a.y) / length * width / 2;
      quads.push_back({{a.x - ux - uy, a.y - uy + ux},
                       {b.x + ux - uy, b.y + uy + ux},
                       {b.x + ux + uy, b.y + uy - ux},
                       {a.x - ux + uy, a.y - uy - ux}});
    }
    fill(std::move(quads), paint);
  }

  static std::vector<Point> rounded(const Box& b, double corner) {
    const double r = std::min({corner, b.width / 2, b.height / 2});
    constexpr int steps = 8;
    std::vector<Point> out;
    for (int quarter = 0; quarter < 4; ++quarter) {
      const double cx = quarter == 0 || quarter == 3 ? b.right() - r : b.x + r;
      const double cy = quarter < 2 ? b.bottom() - r : b.y + r;
      for (int i = 0; i <= steps; ++i) {
        const double angle = (quarter + static_cast<double>(i) / steps) * std::numbers::pi / 2;
        out.push_back({cx + r * std::cos(angle), cy + r * std::sin(angle)});
      }
    }
    return out;
  }

  Canvas& canvas_;
  const TextMeasurer& measurer_;
  Theme theme_;
  double scale_;
  std::optional<CellColours> colours_;  ///< of the image before, mostly the same for all
};

}  // namespace

Raster rasterise(const Figure& figure, Theme theme, double scale) {
  check_picture_size(figure.width, figure.height, scale);
  Canvas canvas(std::lround(figure.width * scale), std::lround(figure.height * scale),
                colour(figure.background, theme));
  const TextMeasurer measurer;
  Rasteriser draw(canvas, measurer, theme, scale);
  for (const Primitive& primitive : figure.primitives) std::visit(draw, primitive.shape);
  return canvas.take();
}

std::string png_bytes(const Raster& raster) {
  std::string out;
  const auto append = [](void* context, void* data, int size) {
    static_cast<std::string*>(context)->append(static_cast<const char*>(data), static_cast<size_t>(size));
  };
  const int width = static_cast<int>(raster.width), height = static_cast<int>(raster.height);
  if (stbi_write_png_to_func(append, &out, width, height, 3, raster.rgb.data(), 3 * width) == 0) {
    fail("a PNG of {} x {} pixels could not be made: not enough memory; choose a smaller size.", width, height);
  }
  return out;
}

}  // namespace headscope
