#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/views/colours.h"
#include "core/views/fonts.h"
#include "core/views/plot/ramp.h"

/// What a view draws: shapes and text in px (origin at the top left, y down), with roles for colours and fonts.
/// The window paints a Figure, the writers (write.h) turn the same one into SVG, PNG or CSV. A plain value.
namespace headscope {

struct Point {
  double x = 0, y = 0;
};

struct Box {
  double x = 0, y = 0, width = 0, height = 0;

  double right() const { return x + width; }
  double bottom() const { return y + height; }
  bool contains(Point p) const { return p.x >= x && p.x < right() && p.y >= y && p.y < bottom(); }
  Box grown(double by) const { return {x - by, y - by, width + 2 * by, height + 2 * by}; }
};

/// Values of an image, row-major, shared and never changed: cell (r, c) is values[offset + r * row_stride + c].
/// NaN marks a cell that holds no number.
struct Grid {
  int64_t rows = 0;
  int64_t cols = 0;
  std::shared_ptr<const std::vector<float>> values;
  int64_t offset = 0;
  int64_t row_stride = 0;

  /// Takes rows * cols values. Throws Error when the count differs.
  static Grid of(int64_t rows, int64_t cols, std::vector<float> values);
  const float* row_data(int64_t index) const { return values->data() + offset + index * row_stride; }
  float at(int64_t row, int64_t col) const { return (*values)[static_cast<size_t>(offset + row * row_stride + col)]; }
  bool empty() const { return rows <= 0 || cols <= 0 || !values; }
  /// The part of `rows` x `cols` cells from (row, col), sharing the values.
  Grid part(int64_t row, int64_t col, int64_t rows, int64_t cols) const;
};

enum class Anchor { start, middle, end };

/// `at` is on the baseline, at the anchor. `upward`: turned a quarter to the left, so that it reads upwards.
struct TextMark {
  Point at;
  std::string text;
  TextRole role = TextRole::text;
  Paint paint;
  Anchor anchor = Anchor::start;
  bool upward = false;
};

struct LineMark {
  Point from, to;
  Paint paint;
  double width = 1;
};

/// The stroke lies inside the box.
struct RectMark {
  Box box;
  std::optional<Paint> fill;
  std::optional<Paint> stroke;
  double stroke_width = 1;
  double corner = 0;
};

/// Square caps and mitred corners.
struct PolylineMark {
  std::vector<Point> points;
  Paint paint;
  double width = 1;
};

/// Closed and filled (non-zero winding).
struct PolygonMark {
  std::vector<Point> points;
  Paint paint;
};

/// Cells as even rectangles that fill the box, first row on top; never smoothed.
struct ImageMark {
  Box box;
  Grid grid;
  ColourScale scale;
};

/// What a script or the mouse reaches: "atlas/2/5", "map/cell", "kv/layer/2".
struct HitRegion {
  std::string id;
  std::string tooltip;  ///< lines separated by '\n'
};

struct Primitive {
  std::variant<TextMark, LineMark, RectMark, PolylineMark, PolygonMark, ImageMark> shape;
  std::optional<HitRegion> hit;
};

/// The numbers behind a figure. Cells are computed when asked for, because a map may have millions.
struct Table {
  using Value = std::variant<double, int64_t, std::string>;
  struct Column {
    std::string name;
    std::string unit;  ///< "nats", "tokens", "bytes"; empty for counts and names
    std::function<Value(size_t row)> value;
  };
  size_t rows = 0;
  std::vector<Column> columns;
};

struct Figure {
  double width = 0, height = 0;  ///< px at scale 1
  std::string title;
  std::string sentence;  ///< what there is to see, computed from the data
  ColourRole background = ColourRole::panel;
  std::vector<Primitive> primitives;  ///< later ones lie on top
  Table table;

  template <class Shape>
  Primitive& add(Shape shape) {
    return primitives.emplace_back(Primitive{std::move(shape), std::nullopt});
  }
  template <class Shape>
  Primitive& add(Shape shape, HitRegion hit) {
    return primitives.emplace_back(Primitive{std::move(shape), std::move(hit)});
  }
};

/// Size of the picture a view is to fill and what it needs to know of the screen.
struct Layout {
  double width = 1280;  ///< px at scale 1
  double height = 800;
  double scale = 1;  ///< device pixels per px
  const TextMeasurer& text;
};

/// Adds the primitives of `part` to `figure`, with its origin at `at`.
void add_figure(Figure& figure, const Figure& part, Point at);

/// The smallest upright box around a primitive; of text, its letters.
Box bounds(const Primitive&, const TextMeasurer&);

/// The topmost hit region under `at`, or null.
const HitRegion* hit_at(const Figure&, Point at, const TextMeasurer&);

/// The primitive whose hit region has this id, or null.
const Primitive* find_hit(const Figure&, std::string_view id);

}  // namespace headscope
