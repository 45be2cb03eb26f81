#include "core/views/figure.h"

#include <algorithm>

#include "core/base/error.h"

namespace headscope {
namespace {

Box around(const std::vector<Point>& points, double margin) {
  if (points.empty()) return {};
  double left = points[0].x, right = left, top = points[0].y, bottom = top;
  for (const Point& p : points) {
    left = std::min(left, p.x), right = std::max(right, p.x);
    top = std::min(top, p.y), bottom = std::max(bottom, p.y);
  }
  return Box{left, top, right - left, bottom - top}.grown(margin);
}

struct Bounds {
  const TextMeasurer& measurer;

  Box operator()(const TextMark& t) const {
    const double width = measurer.width(t.text, t.role);
    const double before = t.anchor == Anchor::start ? 0 : t.anchor == Anchor::middle ? width / 2 : width;
    const double rise = TextMeasurer::rise(t.role), drop = TextMeasurer::drop(t.role);
    if (t.upward) return {t.at.x - rise, t.at.y + before - width, rise + drop, width};
    return {t.at.x - before, t.at.y - rise, width, rise + drop};
  }
  Box operator()(const LineMark& l) const { return around({l.from, l.to}, l.width / 2); }
  Box operator()(const RectMark& r) const { return r.box; }
  Box operator()(const PolylineMark& p) const { return around(p.points, p.width / 2); }
  Box operator()(const PolygonMark& p) const { return around(p.points, 0); }
  Box operator()(const ImageMark& i) const { return i.box; }
};

struct Shift {
  Point by;

  void move(Point& p) const { p.x += by.x, p.y += by.y; }
  void move(Box& box) const { box.x += by.x, box.y += by.y; }
  void operator()(TextMark& t) const { move(t.at); }
  void operator()(LineMark& l) const { move(l.from), move(l.to); }
  void operator()(RectMark& r) const { move(r.box); }
  void operator()(PolylineMark& p) const {
    for (Point& point : p.points) move(point);
  }
  void operator()(PolygonMark& p) const {
    for (Point& point : p.points) move(point);
  }
  void operator()(ImageMark& i) const { move(i.box); }
};

}  // namespace

Grid Grid::of(int64_t rows, int64_t cols, std::vector<float> values) {
  if (rows < 0 || cols < 0 || static_cast<int64_t>(values.size()) != rows * cols) {
    fail("a grid of {} x {} cells was given {} values.", rows, cols, values.size());
  }
  return {rows, cols, std::make_shared<const std::vector<float>>(std::move(values)), 0, cols};
}

Grid Grid::part(int64_t row, int64_t col, int64_t part_rows, int64_t part_cols) const {
  Grid out = *this;
  out.rows = part_rows;
  out.cols = part_cols;
  out.offset = offset + row * row_stride + col;
  return out;
}

void add_figure(Figure& figure, const Figure& part, Point at) {
  for (const Primitive& p : part.primitives) {
    std::visit(Shift{at}, figure.primitives.emplace_back(p).shape);
  }
}

Box bounds(const Primitive& primitive, const TextMeasurer& measurer) {
  return std::visit(Bounds{measurer}, primitive.shape);
}

const HitRegion* hit_at(const Figure& figure, Point at, const TextMeasurer& measurer) {
  for (auto p = figure.primitives.rbegin(); p != figure.primitives.rend(); ++p) {
    if (p->hit && bounds(*p, measurer).contains(at)) return &*p->hit;
  }
  return nullptr;
}

const Primitive* find_hit(const Figure& figure, std::string_view id) {
  for (const Primitive& p : figure.primitives) {
    if (p.hit && p.hit->id == id) return &p;
  }
  return nullptr;
}

}  // namespace headscope
