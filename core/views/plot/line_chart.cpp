#include "core/views/plot/line_chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/views/plot/heading.h"

namespace headscope {
namespace {

constexpr double label_pitch = 16;  ///< px from one line's name to the next
constexpr double label_gap = 28;    ///< px between the chart and the names, for the lines that join them
constexpr TextRole name_role = TextRole::caption, value_role = TextRole::number_small;

/// Where `value` lies between lo and hi, 0 to 1.
double part_of(const ChartAxis& axis, double value) {
  if (axis.logarithmic) return std::log(value / axis.lo) / std::log(axis.hi / axis.lo);
  return (value - axis.lo) / (axis.hi - axis.lo);
}

class LineChart {
 public:
  LineChart(Figure& figure, const ChartAxis& x, const ChartAxis& y, std::span<const LineSeries> series,
            const Layout& layout)
      : figure_(figure), x_(x), y_(y), series_(series), layout_(layout) {}

  void paint(const Box& room) {
    const bool titles = room.height >= 160 && room.width >= 200;
    double axis = 0;
    for (const Tick& tick : y_.ticks) axis = std::max(axis, layout_.text.width(tick.label, TextRole::number_small));
    chart_.x = room.x + std::ceil((axis + 8) / 4) * 4;
    chart_.y = room.y + (titles ? 24 : 8);
    chart_.height = room.bottom() - chart_.y - (titles ? 40 : 20);
    find_label_width(room);
    chart_.width = room.right() - chart_.x - (label_width_ > 0 ? label_gap + label_width_ : 8);
    if (chart_.width < 64 || chart_.height < 32) return;
    paint_axes(room, titles);
    for (const LineSeries& one : series_) paint_line(one);
    for (size_t i = 0; i < series_.size(); ++i) paint_marks(series_[i]);
    if (label_width_ > 0) paint_labels();
  }

 private:
  Point at(const Point& p) const {
    return {chart_.x + part_of(x_, p.x) * chart_.width, chart_.bottom() - part_of(y_, p.y) * chart_.height};
  }

  double text_width(std::string_view text, TextRole role) const { return layout_.text.width(text, role); }

  /// Names take what they need, at most four tenths of the room; values are left out where their tails would suffer,
  /// all labels when little would be left of them.
  void find_label_width(const Box& room) {
    double wanted = 0, tails = 0;
    for (const LineSeries& one : series_) {
      value_width_ = std::max(value_width_, text_width(one.value, value_role));
      wanted = std::max(wanted, text_width(one.name.whole, name_role));
      tails = std::max(tails, text_width(one.name.tail, name_role));
      for (const LineName& other : one.also) wanted = std::max(wanted, text_width("= " + other.whole, name_role));
    }
    constexpr double gap = 12, least_head = 32;
    const double most = std::floor(room.width * 0.4);
    if (tails > 0 && std::min(wanted, tails + least_head) + gap + value_width_ > most) value_width_ = 0;
    names_end_ = value_width_ > 0 ? value_width_ + gap : 0;
    label_width_ = std::min(most, std::ceil(wanted + names_end_));
    if (label_width_ < value_width_ + 60 && label_width_ < wanted) label_width_ = 0;
  }

  void paint_axes(const Box& room, bool titles) {
    std::vector<double> centres, extents;
    for (const Tick& tick : y_.ticks) {
      const double y = std::round(at({x_.lo, tick.value}).y);
      figure_.add(RectMark{{chart_.x, y, chart_.width, 1}, Paint{ColourRole::line, 0.6}, {}});
      centres.push_back(-y);  // ascending upwards
      extents.push_back(14);
    }
    const auto by_height = centres;
    for (const size_t i : thinned(by_height, extents, 0)) {
      add_fitted(figure_, {chart_.x - 8, -by_height[i] + 4}, y_.ticks[i].label, TextRole::number_small,
                 {ColourRole::dim}, Anchor::end, 1e9, layout_);
    }
    paint_x_ticks();
    if (!titles) return;
    add_fitted(figure_, {room.x, room.y + 10}, y_.title, TextRole::caption, {ColourRole::dim}, Anchor::start,
               room.width, layout_);
    add_fitted(figure_, {chart_.x + chart_.width / 2, chart_.bottom() + 36}, x_.title, TextRole::caption,
               {ColourRole::dim}, Anchor::middle, chart_.width, layout_);
  }

  void paint_x_ticks() {
    std::vector<double> centres, extents;
    for (const Tick& tick : x_.ticks) {
      const double x = std::round(at({tick.value, y_.lo}).x);
      figure_.add(RectMark{{x, chart_.bottom(), 1, 4}, Paint{ColourRole::line}, {}});
      centres.push_back(x);
      extents.push_back(text_width(tick.label, TextRole::number_small));
    }
    for (const size_t i : thinned(centres, extents, 8)) {
      add_fitted(figure_, {centres[i], chart_.bottom() + 16}, x_.ticks[i].label, TextRole::number_small,
                 {ColourRole::dim}, Anchor::middle, 1e9, layout_);
    }
  }

  void paint_line(const LineSeries& one) {
    std::vector<Point> line;
    for (const Point& p : one.curve) line.push_back(at(p));
    if (line.size() < 2) return;
    if (!one.dashed) {
      figure_.add(PolylineMark{std::move(line), one.paint, 2});
      return;
    }
    for (std::vector<Point>& dash : dashes(line, 6, 5)) figure_.add(PolylineMark{std::move(dash), one.paint, 1.5});
  }

  void paint_marks(const LineSeries& one) {
    for (size_t i = 0; i < one.marks.size(); ++i) {
      const Point p = at(one.marks[i]);
      add_mark(figure_, p, one.shape, one.paint, one.dashed);
      if (i >= one.tooltips.size()) continue;
      figure_.add(RectMark{{p.x - 6, p.y - 6, 12, 12}, {}, {}}, {fmt::format("{}/{}", one.id, i), one.tooltips[i]});
    }
  }

  /// A line's name with those that share it; `rows` of text.
  struct Label {
    const LineSeries* series;
    double y;  ///< of the line's end
    size_t rows() const { return 1 + series->also.size(); }
  };

  void paint_labels() {
    std::vector<Label> labels;
    for (const LineSeries& one : series_) {
      if (!one.curve.empty()) labels.push_back({&one, at(one.curve.back()).y});
    }
    std::stable_sort(labels.begin(), labels.end(), [](const Label& a, const Label& b) { return a.y < b.y; });
    const double lo = chart_.y, hi = chart_.bottom();  // above the labels of the x axis
    const size_t room = 1 + static_cast<size_t>((hi - lo) / label_pitch);
    std::vector<double> centres;
    std::vector<size_t> first;  // row of each label
    size_t shown = 0, left_out = 0;
    for (const Label& label : labels) left_out += label.rows();
    for (; shown < labels.size(); ++shown) {
      const bool last = shown + 1 == labels.size();
      if (centres.size() + labels[shown].rows() + (last ? 0 : 1) > room) break;
      left_out -= labels[shown].rows();
      first.push_back(centres.size());
      for (size_t r = 0; r < labels[shown].rows(); ++r) {
        centres.push_back(labels[shown].y + label_pitch * static_cast<double>(r));
      }
    }
    if (left_out > 0) centres.push_back(centres.empty() ? lo : centres.back() + label_pitch);
    for (size_t i = 1; i < centres.size(); ++i) centres[i] = std::max(centres[i], centres[i - 1]);
    const std::vector<double> rows = moved_apart(centres, label_pitch, lo, hi);
    for (size_t i = 0; i < shown; ++i) paint_label(labels[i], std::span(rows).subspan(first[i], labels[i].rows()));
    if (left_out > 0) {
      add_fitted(figure_, {chart_.right() + label_gap, rows.back() + 4}, fmt::format("and {} more", left_out),
                 name_role, {ColourRole::dim}, Anchor::start, label_width_, layout_);
    }
  }

  void paint_label(const Label& label, std::span<const double> rows) {
    const LineSeries& one = *label.series;
    const double x = chart_.right() + label_gap;
    const Point begin{chart_.right() + 8, label.y}, end{x - 6, rows[0]};
    const Paint join{one.paint.role, 0.6};
    if (std::abs(begin.y - end.y) < 0.5) {
      figure_.add(LineMark{begin, {end.x, begin.y}, join, 1});
    } else {
      figure_.add(PolylineMark{{begin, {begin.x + 3, begin.y}, {end.x - 3, end.y}, end}, join, 1});
    }
    const double names = label_width_ - names_end_;
    const auto add = [&](double y, const LineName& name, double width) {
      add_fitted(figure_, {x, y + 4}, name.fitted(name_role, width, layout_.text), name_role, {one.paint.role},
                 Anchor::start, width + 1, layout_);
    };
    add(rows[0], one.name, names);
    if (value_width_ > 0) {
      add_fitted(figure_, {x + label_width_, rows[0] + 4}, one.value, value_role, {ColourRole::text}, Anchor::end,
                 value_width_ + 1, layout_);
    }
    for (size_t i = 0; i < one.also.size(); ++i) {
      add(rows[i + 1], {"= " + one.also[i].whole, one.also[i].tail}, label_width_);
    }
  }

  Figure& figure_;
  const ChartAxis& x_;
  const ChartAxis& y_;
  std::span<const LineSeries> series_;
  const Layout& layout_;
  Box chart_;
  double label_width_ = 0, value_width_ = 0;
  double names_end_ = 0;  ///< px from a name's end to that of its label
};

}  // namespace

std::string LineName::fitted(TextRole role, double width, const TextMeasurer& text) const {
  const std::string name = printable(whole, text);
  if (tail.empty() || text.width(name, role) <= width) return text.fitted(name, role, width);
  const std::string_view head = std::string_view(name).substr(0, name.size() - tail.size());
  const std::string begin = text.fitted(head, role, width - text.width(tail, role));
  if (!begin.empty()) return begin + tail;
  for (std::string_view rest = tail; !rest.empty();) {
    const std::string end = fmt::format("\u2026{}", rest);
    if (text.width(end, role) <= width) return end;
    rest.remove_prefix(std::min(rest.find(' ', 1), rest.size()));
  }
  return "";
}

void add_line_chart(Figure& figure, const Box& room, const ChartAxis& x, const ChartAxis& y,
                    std::span<const LineSeries> series, const Layout& layout) {
  LineChart(figure, x, y, series, layout).paint(room);
}

std::vector<std::vector<Point>> dashes(std::span<const Point> line, double on, double off) {
  std::vector<std::vector<Point>> out;
  double left = on;  // px until the pen is lifted or set down
  bool drawing = true;
  std::vector<Point> dash;
  if (!line.empty()) dash.push_back(line.front());
  for (size_t i = 1; i < line.size(); ++i) {
    const Point from = line[i - 1], to = line[i];
    const double length = std::hypot(to.x - from.x, to.y - from.y);
    double done = 0;
    for (; length - done > left; left = drawing ? on : off) {
      done += left;
      const double part = done / length;
      const Point cut{from.x + (to.x - from.x) * part, from.y + (to.y - from.y) * part};
      dash.push_back(cut);
      if (drawing) out.push_back(dash);
      dash = {cut};
      drawing = !drawing;
    }
    left -= length - done;
    dash.push_back(to);
  }
  if (drawing && dash.size() > 1) out.push_back(std::move(dash));
  return out;
}

void add_mark(Figure& figure, Point c, MarkShape shape, const Paint& paint, bool hollow) {
  const auto draw = [&](double r, const Paint& fill) {
    switch (shape) {
      case MarkShape::circle:
        figure.add(RectMark{{c.x - r, c.y - r, 2 * r, 2 * r}, fill, {}, 0, r});
        return;
      case MarkShape::square:
        figure.add(RectMark{{c.x - r * 0.9, c.y - r * 0.9, 1.8 * r, 1.8 * r}, fill, {}});
        return;
      case MarkShape::diamond:
        figure.add(PolygonMark{
            {{c.x, c.y - 1.25 * r}, {c.x + 1.25 * r, c.y}, {c.x, c.y + 1.25 * r}, {c.x - 1.25 * r, c.y}}, fill});
        return;
      case MarkShape::triangle:
        figure.add(
            PolygonMark{{{c.x, c.y - 1.2 * r}, {c.x + 1.2 * r, c.y + 0.9 * r}, {c.x - 1.2 * r, c.y + 0.9 * r}}, fill});
    }
  };
  draw(4, paint);
  if (hollow) draw(2.2, {figure.background});
}

std::vector<double> moved_apart(std::span<const double> centres, double pitch, double lo, double hi) {
  std::vector<double> out(centres.begin(), centres.end());
  // Neighbours that would touch form a block around the mean of what they want; blocks that touch become one.
  struct Block {
    double sum;  ///< of centre - pitch * index, so that all members want the same
    size_t count;
    size_t first;
  };
  std::vector<Block> blocks;
  const double last_lo = hi - pitch * static_cast<double>(std::max<size_t>(1, out.size()) - 1);
  const auto place = [&](const Block& block) {
    return std::clamp(block.sum / static_cast<double>(block.count), lo, std::max(lo, last_lo));
  };
  for (size_t i = 0; i < out.size(); ++i) {
    blocks.push_back({out[i] - pitch * static_cast<double>(i), 1, i});
    while (blocks.size() > 1 && place(blocks[blocks.size() - 2]) >= place(blocks.back())) {
      const Block top = blocks.back();
      blocks.pop_back();
      blocks.back().sum += top.sum;
      blocks.back().count += top.count;
    }
  }
  for (const Block& block : blocks) {
    for (size_t i = block.first; i < block.first + block.count; ++i) {
      out[i] = place(block) + pitch * static_cast<double>(i);
    }
  }
  return out;
}

}  // namespace headscope
