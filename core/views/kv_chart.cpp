#include "core/views/kv_chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/base/text.h"
#include "core/views/kv_layers.h"
#include "core/views/kv_reading.h"
#include "core/views/plot/ticks.h"

namespace headscope {
namespace {

constexpr double narrowest_bar = 4;  ///< px a token; below it the steps join into an area
constexpr size_t most_bars = 2000;   ///< likewise beyond this many

class KvChart {
 public:
  KvChart(Figure& figure, const KvData& data, const KvState& state, const Selection& selection, const Layout& layout)
      : figure_(figure), data_(data), state_(state), selection_(selection), layout_(layout) {}

  void paint(const Box& room, bool compact) {
    const bool has_title = !compact && room.height >= 200;  // the axis' name goes first when height is short
    const double below = has_title ? 36 : 20;
    chart_ = {room.x, room.y + 20, room.width, room.height - 20 - below};
    if (chart_.height < 24) return;
    find_top(compact ? 4 : 24);
    const std::vector<Tick> ticks = byte_ticks(top_, std::max(3, static_cast<int>(chart_.height / 44)));
    double axis = 0;
    for (const Tick& tick : ticks) axis = std::max(axis, layout_.text.width(tick.label, TextRole::number_small));
    const double names = !compact && room.width >= 480 ? layer_names_width() : 0;
    chart_.x = room.x + std::ceil((axis + 8) / 4) * 4;
    chart_.width = room.right() - chart_.x - names;
    if (chart_.width < 64) return;
    edges_ = stacked_after(data_.facts.tokens);
    paint_y_axis(ticks);
    paint_layers();
    if (state_.allocated) paint_allocated(!compact);
    paint_x_axis(has_title);
    paint_parts();
    if (names > 0) paint_names(room.right());
  }

 private:
  Paint layer_paint(size_t i) const {
    const auto count = static_cast<double>(data_.layers.size());
    const double part = count > 1 ? static_cast<double>(i) / (count - 1) : 1.0;
    return {accent(data_.facts.slot), 0.35 + 0.65 * part};
  }

  void text(Point at, std::string_view what, TextRole role, ColourRole colour, Anchor anchor, double width = 1e9) {
    add_fitted(figure_, at, what, role, {colour}, anchor, width, layout_);
  }

  double x_of(double token) const { return chart_.x + token * chart_.width / static_cast<double>(data_.facts.tokens); }
  double y_of(double bytes) const { return chart_.bottom() - bytes / top_ * chart_.height; }

  /// Leaves `above` px over the highest bytes, for the line there and its label.
  void find_top(double above) {
    double most = static_cast<double>(total_used(data_));
    if (state_.allocated) {
      uint64_t allocated = total_allocated(data_);
      for (const uint64_t bytes : data_.allocated_history) allocated = std::max(allocated, bytes);
      most = std::max(most, static_cast<double>(allocated));
    }
    top_ = std::max(1.0, most) * chart_.height / std::max(chart_.height / 2, chart_.height - above);
  }

  void paint_y_axis(const std::vector<Tick>& ticks) {
    for (const Tick& tick : ticks) {
      const double y = std::round(y_of(tick.value));
      figure_.add(RectMark{{chart_.x, y, chart_.width, 1}, Paint{ColourRole::line, tick.value == 0 ? 1.0 : 0.6}, {}});
      text({chart_.x - 8, y + 4}, tick.label, TextRole::number_small, ColourRole::dim, Anchor::end);
    }
  }

  /// Bytes below each layer, and of all, after `tokens` tokens: by formula, the last step as measured.
  std::vector<double> stacked_after(int64_t tokens) const {
    std::vector<double> sums{0};
    for (const KvLayerBytes& l : data_.layers) {
      sums.push_back(sums.back() +
                     (tokens == data_.facts.tokens ? static_cast<double>(l.used) : bytes_after(l, tokens)));
    }
    return sums;
  }

  void paint_layers() {
    const double pitch = chart_.width / static_cast<double>(data_.facts.tokens);
    const bool bars =
        pitch >= narrowest_bar && static_cast<size_t>(data_.facts.tokens) * data_.layers.size() <= most_bars;
    bars ? paint_bars() : paint_areas();
    paint_regions();
  }

  /// A bar for each layer and token.
  void paint_bars() {
    const int64_t n = data_.facts.tokens;
    std::vector<std::vector<double>> steps;
    for (int64_t t = 1; t <= n; ++t) steps.push_back(stacked_after(t));
    const auto band = [&](size_t first, size_t last, Paint paint) {
      for (int64_t t = 0; t < n; ++t) {
        const double x0 = std::round(x_of(static_cast<double>(t))),
                     x1 = std::round(x_of(static_cast<double>(t + 1))) - 1;
        const std::vector<double>& sums = steps[static_cast<size_t>(t)];
        const double y0 = y_of(sums[last]), y1 = y_of(sums[first]);
        if (y1 > y0) figure_.add(RectMark{{x0, y0, x1 - x0, y1 - y0}, paint, {}});
      }
    };
    band(0, data_.layers.size(), {figure_.background});  // so that no grid line shines through
    for (size_t i = 0; i < data_.layers.size(); ++i) band(i, i + 1, layer_paint(i));
  }

  /// Tokens after which the slope changes: where windows are full, and before the measured last step.
  std::vector<int64_t> corners() const {
    const int64_t n = data_.facts.tokens;
    std::vector<int64_t> list{0, n - 1, n};
    for (const KvLayerBytes& l : data_.layers) {
      if (l.window > 0 && l.window < n) list.push_back(l.window);
    }
    std::sort(list.begin(), list.end());
    list.erase(std::unique(list.begin(), list.end()), list.end());
    return list;
  }

  void paint_areas() {
    const std::vector<int64_t> tokens = corners();
    std::vector<std::vector<double>> sums;
    for (const int64_t t : tokens) sums.push_back(stacked_after(t));
    const auto band = [&](size_t first, size_t last, Paint paint) {
      PolygonMark area{{}, paint};
      for (size_t i = 0; i < tokens.size(); ++i) {
        area.points.push_back({x_of(static_cast<double>(tokens[i])), y_of(sums[i][last])});
      }
      for (size_t i = tokens.size(); i-- > 0;) {
        area.points.push_back({x_of(static_cast<double>(tokens[i])), y_of(sums[i][first])});
      }
      figure_.add(std::move(area));
    };
    band(0, data_.layers.size(), {figure_.background});  // so that no grid line shines through
    for (size_t i = 0; i < data_.layers.size(); ++i) band(i, i + 1, layer_paint(i));
  }

  /// What the pointer finds: each layer's part of the last step's height, over the whole width.
  void paint_regions() {
    for (size_t i = 0; i < data_.layers.size(); ++i) {
      const KvLayerBytes& l = data_.layers[i];
      const double y0 = y_of(edges_[i + 1]), y1 = y_of(edges_[i]);
      figure_.add(RectMark{{chart_.x, y0, chart_.width, std::max(1.0, y1 - y0)}, {}, {}},
                  {fmt::format("kv/layer/{}", l.layer), kv_layer_tooltip(l, data_.facts.tokens)});
    }
  }

  void paint_allocated(bool labelled) {
    const Paint paint{ColourRole::text, 0.7};
    const double level = std::round(y_of(static_cast<double>(total_allocated(data_))));
    // The label stands where the line has that height: all along, or at its end.
    const bool grew = !data_.allocated_history.empty();
    if (grew) {
      figure_.add(PolylineMark{allocation_steps(), paint, 1});
    } else {
      figure_.add(RectMark{{chart_.x, level, chart_.width, 1}, paint, {}});
    }
    if (!labelled) return;
    text({grew ? chart_.right() - 4 : chart_.x + 4, level - 6},
         fmt::format("allocated {}", format_bytes(total_allocated(data_))), TextRole::caption, ColourRole::text,
         grew ? Anchor::end : Anchor::start, chart_.width - 8);
  }

  /// Corners of the line of allocated bytes, on pixel centres: two where it changes, of changes within one pixel
  /// column the last.
  std::vector<Point> allocation_steps() const {
    std::vector<Point> points;
    const std::vector<uint64_t>& history = data_.allocated_history;
    for (size_t t = 0; t < history.size(); ++t) {
      if (t > 0 && history[t] == history[t - 1]) continue;
      const double x = std::round(x_of(static_cast<double>(t))) + 0.5;
      const double y = std::round(y_of(static_cast<double>(history[t]))) + 0.5;
      if (!points.empty() && points.back().y == y) continue;
      if (!points.empty() && points.back().x == x) {
        points.back().y = y;
        continue;
      }
      if (!points.empty()) points.push_back({x, points.back().y});
      points.push_back({x, y});
    }
    points.push_back({chart_.right() - 0.5, points.back().y});
    return points;
  }

  void paint_x_axis(bool has_title) {
    const double n = static_cast<double>(data_.facts.tokens);
    const std::vector<Tick> ticks = nice_ticks(0, n, std::max(2, static_cast<int>(chart_.width / 64)), 1);
    for (const Tick& tick : ticks) {
      const double x = std::round(x_of(tick.value));
      figure_.add(RectMark{{std::min(x, chart_.right() - 1), chart_.bottom(), 1, 4}, Paint{ColourRole::line}, {}});
      text({x, chart_.bottom() + 16}, format_count(static_cast<uint64_t>(tick.value)), TextRole::number_small,
           ColourRole::dim, Anchor::middle);
    }
    if (!has_title) return;
    text({chart_.x + chart_.width / 2, chart_.bottom() + 32}, "tokens", TextRole::caption, ColourRole::dim,
         Anchor::middle, chart_.width);
  }

  /// Where the prompt ends and generated tokens begin.
  void paint_parts() {
    const int64_t n = data_.facts.tokens, prompt = data_.prompt_tokens;
    if (prompt <= 0 || prompt >= n) return;
    const double x = std::round(x_of(static_cast<double>(prompt)));
    figure_.add(RectMark{{x, chart_.y - 16, 1, chart_.height + 16}, Paint{ColourRole::dim}, {}});
    const double baseline = chart_.y - 6;
    text({x - 8, baseline}, fmt::format("prompt {}", format_count(static_cast<uint64_t>(prompt))), TextRole::caption,
         ColourRole::dim, Anchor::end, x - 8 - chart_.x);
    text({x + 8, baseline}, fmt::format("generated {}", format_count(static_cast<uint64_t>(n - prompt))),
         TextRole::caption, ColourRole::dim, Anchor::start, chart_.right() - x - 8);
  }

  static std::string layer_name(const KvLayerBytes& l) { return fmt::format("layer {}", l.layer); }
  static std::string bytes_text(const KvLayerBytes& l) {
    return fmt::format("{} of {}", format_bytes(l.used), format_bytes(l.allocated));
  }

  double layer_names_width() const {
    double name = 0, bytes = 0;
    for (const auto& l : data_.layers) {
      name = std::max(name, layout_.text.width(layer_name(l), TextRole::number_small));
      bytes = std::max(bytes, layout_.text.width(bytes_text(l), TextRole::number_small));
    }
    return std::ceil((12 + name + 12 + bytes) / 4) * 4;
  }

  /// Each layer's name and bytes beside its band, as many as have room; the selected one stands out.
  void paint_names(double right) {
    std::vector<double> centres, extents;
    for (size_t i = data_.layers.size(); i-- > 0;) {
      const double top = y_of(edges_[i + 1]), bottom = y_of(edges_[i]);
      centres.push_back((top + bottom) / 2);
      extents.push_back(12);
      if (selection_.layer != data_.layers[i].layer) continue;
      figure_.add(
          RectMark{{chart_.right() + 2, top, 2, std::max(1.0, bottom - top)}, Paint{ColourRole::selection}, {}});
    }
    for (const size_t i : thinned(centres, extents, 1)) {
      const KvLayerBytes& l = data_.layers[data_.layers.size() - 1 - i];
      const ColourRole colour = selection_.layer == l.layer ? ColourRole::text : ColourRole::dim;
      text({chart_.right() + 12, centres[i] + 4}, layer_name(l), TextRole::number_small, colour, Anchor::start);
      text({right, centres[i] + 4}, bytes_text(l), TextRole::number_small, colour, Anchor::end);
    }
  }

  Figure& figure_;
  const KvData& data_;
  const KvState& state_;
  const Selection& selection_;
  const Layout& layout_;
  Box chart_;
  std::vector<double> edges_;  ///< bytes below each layer, and of all, as measured
  double top_ = 1;             ///< bytes at the upper edge of the chart
};

}  // namespace

void add_kv_chart(Figure& figure, const Box& room, bool compact, const KvData& data, const KvState& state,
                  const Selection& selection, const Layout& layout) {
  KvChart(figure, data, state, selection, layout).paint(room, compact);
}

}  // namespace headscope
