#include "core/views/plot/legend.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/views/plot/heading.h"
#include "core/views/plot/ticks.h"

namespace headscope {
namespace {

constexpr double bar_height = 8;
constexpr int bar_cells = 160;

Grid ramp_grid(const ColourScale& scale) {
  std::vector<float> values(bar_cells);
  for (int i = 0; i < bar_cells; ++i) {
    const double t = (i + 0.5) / bar_cells;
    values[static_cast<size_t>(i)] = static_cast<float>(scale.logarithmic ? scale.lo * std::pow(scale.hi / scale.lo, t)
                                                                          : std::lerp(scale.lo, scale.hi, t));
  }
  return Grid::of(1, bar_cells, std::move(values));
}

/// Labels below the bar: both ends, and what has room between them.
void add_ticks(Figure& figure, const Box& bar, const ColourScale& scale, const Layout& layout) {
  std::vector<Tick> ticks =
      scale.logarithmic ? log_ticks(scale.lo, scale.hi)
                        : std::vector<Tick>{{scale.lo, short_number(scale.lo)}, {scale.hi, short_number(scale.hi)}};
  const auto width = [&](const Tick& tick) { return layout.text.width(tick.label, TextRole::number_small); };
  double free_from = bar.x + width(ticks.front()) + 6;
  const double free_to = bar.right() - width(ticks.back()) - 6;
  for (size_t i = 0; i < ticks.size(); ++i) {
    const bool first = i == 0, last = i + 1 == ticks.size();
    const double x = bar.x + scale.position(ticks[i].value) * bar.width;
    if (!first && !last) {
      figure.add(RectMark{{std::round(x), bar.bottom(), 1, 3}, Paint{ColourRole::dim}, {}});
      const double half = width(ticks[i]) / 2;
      if (x - half < free_from || x + half > free_to) continue;
      free_from = x + half + 6;
    }
    figure.add(TextMark{{first  ? bar.x
                         : last ? bar.right()
                                : x,
                         bar.bottom() + 16},
                        ticks[i].label,
                        TextRole::number_small,
                        {ColourRole::dim},
                        first  ? Anchor::start
                        : last ? Anchor::end
                               : Anchor::middle});
  }
}

}  // namespace

double add_legend(Figure& figure, Point at, double width, const ColourScale& scale, const LegendText& text,
                  bool invalid, bool stacked, const Layout& layout) {
  const double swatch = invalid ? 40 : 0;
  const double length = stacked ? width - swatch - 4 : std::floor(width * 0.4);
  const Box bar{at.x, at.y + 4, std::clamp(length, 64.0, 208.0), bar_height};
  if (width < bar.width + swatch || at.y + legend_height > figure.height) return 0;
  figure.add(ImageMark{bar, ramp_grid(scale), scale});
  figure.add(RectMark{bar.grown(1), {}, Paint{ColourRole::line}});
  add_ticks(figure, bar, scale, layout);
  double x = bar.right() + 16;
  if (invalid) {
    figure.add(RectMark{{x, bar.y, bar_height, bar_height}, Paint{ColourRole::invalid}, {}});
    figure.add(TextMark{{x, bar.bottom() + 16}, "NaN", TextRole::number_small, {ColourRole::dim}});
    x += 36;
  }
  const Paint paint{ColourRole::dim};
  const auto line = [&](Point place, std::string_view words) {
    add_fitted(figure, place, words, TextRole::caption, paint, Anchor::start, at.x + width - place.x, layout);
  };
  if (!stacked) {
    line({x, at.y + 12}, text.first);
    line({x, at.y + 28}, text.second);
    return legend_height;
  }
  double baseline = at.y + 48;
  line({at.x, baseline}, text.first);
  for (const std::string& part : layout.text.wrapped(text.second, TextRole::caption, width, 2)) {
    line({at.x, baseline += 16}, part);
  }
  return baseline + 8 - at.y;
}

std::string weight_text(double weight) {
  return weight < 0.0005 ? short_number(weight) : fmt::format("{:.3f}", weight);
}

std::string scale_text(const ColourScale& scale) {
  return fmt::format("{}, {} to {}", scale.logarithmic ? "logarithmic" : "linear", short_number(scale.lo),
                     short_number(scale.hi));
}

std::string pooling_text(int64_t bin, bool mean) {
  if (bin == 1) return "one token a cell";
  return fmt::format("{} of {} x {} tokens a cell", mean ? "mean" : "largest weight", bin, bin);
}

std::string invalid_text(int64_t count) {
  if (count == 0) return "";
  return count == 1 ? "; 1 value is not a number" : fmt::format("; {} values are not numbers", count);
}

double map_floor(int64_t kv_len) { return 1.0 / (16.0 * static_cast<double>(std::max<int64_t>(1, kv_len))); }

}  // namespace headscope
