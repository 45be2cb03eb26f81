#include "app/gui/paint/shapes.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace headscope::gui {
namespace {

ImVec2 vec(const Point& p) { return {static_cast<float>(p.x), static_cast<float>(p.y)}; }

ImU32 faded(ImU32 colour, double cover) {
  const auto alpha = static_cast<ImU32>(std::lround((colour >> IM_COL32_A_SHIFT) * cover));
  return (colour & ~IM_COL32_A_MASK) | (alpha << IM_COL32_A_SHIFT);
}

/// A stretch of pixels that are covered alike.
struct Stretch {
  float begin, end;
  double cover;
};

/// [begin, end) as at most three stretches; less than 1/256 of a pixel is nothing.
size_t stretches(double begin, double end, std::array<Stretch, 3>& out) {
  begin = std::round(begin * 256) / 256;
  end = std::round(end * 256) / 256;
  size_t count = 0;
  const auto add = [&](double from, double to, double cover) {
    if (to > from && cover > 0) out[count++] = {static_cast<float>(from), static_cast<float>(to), cover};
  };
  const double first = std::ceil(begin), last = std::floor(end);
  if (first > last) {  // both edges in one pixel
    add(last, first, end - begin);
    return count;
  }
  add(first - 1, first, first - begin);
  add(first, last, 1);
  add(last, last + 1, end - last);
  return count;
}

bool is_level(const Point& a, const Point& b) { return a.x == b.x || a.y == b.y; }

bool is_rectilinear(std::span<const Point> points) {
  for (size_t i = 0; i < points.size(); ++i) {
    if (!is_level(points[i], points[(i + 1) % points.size()])) return false;
  }
  return true;
}

/// Fills outlines of horizontal and vertical edges slab by slab, between one x of a corner and the next.
class SlabFill {
 public:
  SlabFill(ImDrawList& list, ImU32 colour) : list_(list), colour_(colour) {}

  void fill(std::span<const Point> points) {
    std::vector<double> xs;
    for (const Point& p : points) xs.push_back(p.x);
    std::ranges::sort(xs);
    xs.erase(std::unique(xs.begin(), xs.end()), xs.end());
    std::vector<std::vector<Edge>> slabs(xs.size());
    const auto slab_of = [&](double x) { return static_cast<size_t>(std::ranges::lower_bound(xs, x) - xs.begin()); };
    for (size_t i = 0; i < points.size(); ++i) {
      const Point a = points[i], b = points[(i + 1) % points.size()];
      const size_t from = slab_of(std::min(a.x, b.x)), to = slab_of(std::max(a.x, b.x));
      for (size_t s = from; s < to; ++s) slabs[s].push_back({a.y, b.x > a.x ? 1 : -1});
    }
    for (size_t s = 0; s + 1 < xs.size(); ++s) add_slab(xs[s], xs[s + 1], slabs[s]);
    flush();
  }

 private:
  struct Edge {
    double y;
    int turn;
  };

  void add_slab(double left, double right, std::vector<Edge>& edges) {
    // Long curves of many narrow steps would be very many boxes: half pixels let neighbours be one box.
    if (right - left < 3) {
      for (Edge& e : edges) e.y = std::round(e.y * 2) / 2;
    }
    std::ranges::sort(edges, {}, &Edge::y);
    std::vector<Box> boxes;
    int winding = 0;
    for (size_t i = 0; i < edges.size(); ++i) {
      if (winding != 0 && edges[i].y > edges[i - 1].y) {
        boxes.push_back({left, edges[i - 1].y, right - left, edges[i].y - edges[i - 1].y});
      }
      winding += edges[i].turn;
    }
    const auto continues = [](const Box& a, const Box& b) {
      return a.y == b.y && a.height == b.height && a.right() == b.x;
    };
    if (std::ranges::equal(open_, boxes, continues)) {
      for (size_t i = 0; i < boxes.size(); ++i) open_[i].width = boxes[i].right() - open_[i].x;
    } else {
      flush();
      open_ = std::move(boxes);
    }
  }

  void flush() {
    for (const Box& box : open_) fill_box(list_, box, colour_);
    open_.clear();
  }

  ImDrawList& list_;
  ImU32 colour_;
  std::vector<Box> open_;
};

/// Without corners that are the same as the one before.
std::vector<ImVec2> distinct(std::span<const Point> points, bool closed) {
  std::vector<ImVec2> out;
  const auto same = [](ImVec2 a, ImVec2 b) { return a.x == b.x && a.y == b.y; };
  for (const Point& p : points) {
    if (out.empty() || !same(out.back(), vec(p))) out.push_back(vec(p));
  }
  while (closed && out.size() > 1 && same(out.front(), out.back())) out.pop_back();
  return out;
}

double turn(ImVec2 a, ImVec2 b, ImVec2 c) {
  return static_cast<double>(b.x - a.x) * static_cast<double>(c.y - b.y) -
         static_cast<double>(b.y - a.y) * static_cast<double>(c.x - b.x);
}

}  // namespace

void fill_box(ImDrawList& list, const Box& box, ImU32 colour) {
  const ImVec2 low = list.GetClipRectMin(), high = list.GetClipRectMax();
  const double left = std::max(box.x, static_cast<double>(low.x) - 1),
               top = std::max(box.y, static_cast<double>(low.y) - 1);
  const double right = std::min(box.right(), static_cast<double>(high.x) + 1);
  const double bottom = std::min(box.bottom(), static_cast<double>(high.y) + 1);
  if (!(right > left) || !(bottom > top)) return;
  std::array<Stretch, 3> columns{}, rows{};
  const size_t across = stretches(left, right, columns), down = stretches(top, bottom, rows);
  for (size_t r = 0; r < down; ++r) {
    for (size_t c = 0; c < across; ++c) {
      const ImU32 mixed = faded(colour, rows[r].cover * columns[c].cover);
      if ((mixed & IM_COL32_A_MASK) == 0) continue;
      list.PrimReserve(6, 4);
      list.PrimRect({columns[c].begin, rows[r].begin}, {columns[c].end, rows[r].end}, mixed);
    }
  }
}

void stroke_box(ImDrawList& list, const Box& box, double width, double corner, ImU32 colour) {
  if (corner > 0) {
    const Box middle = box.grown(-width / 2);
    list.PathRect(vec({middle.x, middle.y}), vec({middle.right(), middle.bottom()}),
                  static_cast<float>(std::max(0.0, corner - width / 2)));
    list.PathStroke(colour, static_cast<float>(width), ImDrawFlags_Closed);
    return;
  }
  fill_box(list, {box.x, box.y, box.width, width}, colour);
  fill_box(list, {box.x, box.bottom() - width, box.width, width}, colour);
  fill_box(list, {box.x, box.y + width, width, box.height - 2 * width}, colour);
  fill_box(list, {box.right() - width, box.y + width, width, box.height - 2 * width}, colour);
}

void fill_rounded(ImDrawList& list, const Box& box, double corner, ImU32 colour) {
  list.AddRectFilled(vec({box.x, box.y}), vec({box.right(), box.bottom()}), colour, static_cast<float>(corner));
}

void stroke_line(ImDrawList& list, std::span<const Point> points, double width, ImU32 colour) {
  const bool opaque = (colour & IM_COL32_A_MASK) == IM_COL32_A_MASK;
  bool level = points.size() == 2 || opaque;  // corners of see-through boxes would show
  for (size_t i = 1; i < points.size() && level; ++i) level = is_level(points[i - 1], points[i]);
  if (!level) {
    const std::vector<ImVec2> path = distinct(points, false);
    list.AddPolyline(path.data(), static_cast<int>(path.size()), colour, static_cast<float>(width),
                     ImDrawFlags_CapSquare | ImDrawFlags_AALineEnds);
    return;
  }
  for (size_t i = 1; i < points.size(); ++i) {
    const Point a = points[i - 1], b = points[i];
    if (a.x == b.x && a.y == b.y) continue;
    fill_box(list,
             Box{std::min(a.x, b.x), std::min(a.y, b.y), std::abs(a.x - b.x), std::abs(a.y - b.y)}.grown(width / 2),
             colour);
  }
}

void fill_polygon(ImDrawList& list, std::span<const Point> points, ImU32 colour) {
  if (points.size() < 3) return;
  if (is_rectilinear(points)) return SlabFill(list, colour).fill(points);
  std::vector<ImVec2> path = distinct(points, true);
  if (path.size() < 3) return;
  double area = 0;
  for (size_t i = 0; i < path.size(); ++i) {
    const ImVec2 a = path[i], b = path[(i + 1) % path.size()];
    area += static_cast<double>(a.x) * static_cast<double>(b.y) - static_cast<double>(b.x) * static_cast<double>(a.y);
  }
  if (area < 0) std::ranges::reverse(path);  // ImGui smooths the edges of shapes that turn clockwise
  bool convex = true;
  for (size_t i = 0; i < path.size() && convex; ++i) {
    convex = turn(path[i], path[(i + 1) % path.size()], path[(i + 2) % path.size()]) >= 0;
  }
  const int count = static_cast<int>(path.size());
  if (convex) {
    list.AddConvexPolyFilled(path.data(), count, colour);
  } else {
    list.AddConcavePolyFilled(path.data(), count, colour);
  }
}

}  // namespace headscope::gui
