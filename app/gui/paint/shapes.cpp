#include "app/gui/paint/shapes.h"

#include <imgui_internal.h>

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

/// The steepest edge, vertical ones aside, in pixels down or up a pixel along; 0 when all are level or vertical.
double steepest(std::span<const Point> points) {
  double most = 0;
  for (size_t i = 0; i < points.size(); ++i) {
    const Point a = points[i], b = points[(i + 1) % points.size()];
    if (a.x != b.x) most = std::max(most, std::abs((b.y - a.y) / (b.x - a.x)));
  }
  return most;
}

/// Fills outlines slab by slab, between one x of a corner and the next. Inner slabs begin on whole pixels, so that no
/// seam shows.
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
      Point a = points[i], b = points[(i + 1) % points.size()];
      const int turn = b.x > a.x ? 1 : -1;
      if (turn < 0) std::swap(a, b);
      const auto y = [&](double x) { return x == b.x ? b.y : a.y + (b.y - a.y) * (x - a.x) / (b.x - a.x); };
      for (size_t s = slab_of(a.x); s < slab_of(b.x); ++s) slabs[s].push_back({y(xs[s]), y(xs[s + 1]), turn});
    }
    for (size_t s = 0; s + 1 < xs.size(); ++s) {
      const double left = s == 0 ? xs[s] : std::round(xs[s]);
      const double right = s + 2 == xs.size() ? xs[s + 1] : std::round(xs[s + 1]);
      if (right > left) fill_slab(left, right, slabs[s]);
    }
  }

 private:
  struct Edge {
    double left, right;  ///< its y at both ends of the slab
    int turn;
    bool is_level() const { return left == right; }
  };

  void fill_slab(double left, double right, std::vector<Edge>& edges) {
    std::ranges::sort(edges, {}, [](const Edge& e) { return e.left + e.right; });
    int winding = 0;
    for (size_t i = 0; i < edges.size(); ++i) {
      if (winding != 0) {
        const Edge &top = edges[i - 1], &bottom = edges[i];
        if (top.is_level() && bottom.is_level()) {
          fill_box(list_, {left, top.left, right - left, bottom.left - top.left}, colour_);
        } else {
          add_pieces(left, right, top, bottom);
        }
      }
      winding += edges[i].turn;
    }
  }

  /// Strips where the height is at least a pixel and where it is less, which is drawn as less opaque.
  void add_pieces(double left, double right, const Edge& above, const Edge& below) {
    const double from = below.left - above.left, to = below.right - above.right;
    if ((from < 1) == (to < 1)) return add_piece(left, right, above, below);
    const double part = (1 - from) / (to - from), x = std::lerp(left, right, part);
    const double top = std::lerp(above.left, above.right, part), bottom = std::lerp(below.left, below.right, part);
    add_piece(left, x, {above.left, top, 0}, {below.left, bottom, 0});
    add_piece(x, right, {top, above.right, 0}, {bottom, below.right, 0});
  }

  /// A strip that fades in and out over one pixel: at the centre of a pixel that is the part of it that is covered.
  void add_piece(double left, double right, const Edge& above, const Edge& below) {
    list_.PrimReserve(18, 8);
    const auto corner = list_._VtxCurrentIdx;
    const auto add_side = [&](double x, double top, double bottom) {
      const double most = std::clamp(bottom - top, 0.0, 1.0);
      const ImU32 full = faded(colour_, most), none = faded(colour_, 0);
      const auto add = [&](double y, ImU32 colour) {
        list_.PrimWriteVtx(vec({x, y}), list_._Data->TexUvWhitePixel, colour);
      };
      add(top - 0.5, none), add(top - 0.5 + most, full), add(bottom + 0.5 - most, full), add(bottom + 0.5, none);
    };
    add_side(left, above.left, below.left);
    add_side(right, above.right, below.right);
    for (unsigned int i = 0; i < 3; ++i) {
      for (const unsigned int c : {i, i + 4, i + 5, i, i + 5, i + 1}) list_.PrimWriteIdx(corner + c);
    }
  }

  ImDrawList& list_;
  ImU32 colour_;
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
  if (steepest(points) <= 1) return SlabFill(list, colour).fill(points);  // ImGui smooths thin shapes too wide
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
