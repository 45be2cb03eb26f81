#pragma once

#include <span>
#include <string>
#include <vector>

#include "core/views/figure.h"
#include "core/views/plot/ticks.h"

namespace headscope {

struct ChartAxis {
  std::string title;  ///< with its unit: "batch, sequences"
  double lo = 0, hi = 1;
  bool logarithmic = false;  ///< needs lo > 0
  std::vector<Tick> ticks;   ///< within [lo, hi], ascending
};

/// The shapes of marks: with labels at the lines' ends, what tells lines apart where colours do not.
enum class MarkShape { circle, square, diamond, triangle };
inline constexpr int mark_shapes = 4;

/// What a line is called. Where that has to be shortened, `tail`, the end of it, stays as long as it has room.
struct LineName {
  std::string whole;
  std::string tail = {};

  /// `whole`, or as much of it as fits `width` px: "stor… as MQA (counterfactual)", then "… (counterfactual)".
  std::string fitted(TextRole, double width, const TextMeasurer&) const;
};

struct LineSeries {
  LineName name;                      ///< stands at the line's end, in the line's colour
  std::string value;                  ///< after it, in numbers' letters: "4.50 GiB"; gives way to tails
  std::vector<LineName> also;         ///< names of series that are the same line: each stands below as "= name"
  std::vector<Point> curve;           ///< in the axes' units, x ascending, two points or more
  std::vector<Point> marks;           ///< points of it that were asked for; hollow when dashed
  std::vector<std::string> tooltips;  ///< of the marks, or empty
  std::string id;                     ///< regions of the marks are "<id>/0", "<id>/1", ...
  Paint paint;
  MarkShape shape = MarkShape::circle;
  bool dashed = false;
};

/// Lines in `room` with axes, grid and each line's name at its right end; names that would collide are moved apart and
/// joined to their lines, those that find no room are counted. Draws nothing where the room is too small.
void add_line_chart(Figure&, const Box& room, const ChartAxis& x, const ChartAxis& y, std::span<const LineSeries>,
                    const Layout&);

/// The points of a line in px cut into dashes of `on` px with gaps of `off` px, corners kept.
std::vector<std::vector<Point>> dashes(std::span<const Point> line, double on, double off);

/// A mark of about 8 px; `hollow` ones show the figure's background inside.
void add_mark(Figure&, Point centre, MarkShape, const Paint&, bool hollow);

/// Shifts centres, which ascend, so that each keeps `pitch` from the next, within [lo, hi], as little as is needed.
/// They must fit: (count - 1) * pitch <= hi - lo.
std::vector<double> moved_apart(std::span<const double> centres, double pitch, double lo, double hi);

}  // namespace headscope
