#include "core/views/head.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/views/head_reading.h"
#include "core/views/plot/legend.h"
#include "core/views/plot/pool.h"
#include "core/views/state_json.h"

namespace headscope {
namespace {

constexpr double two_columns = 560;  ///< px of width from which the numbers stand beside the map
constexpr double column_gap = 32;
constexpr double widest_numbers = 560;
constexpr double smallest_map = 96;  ///< px; smaller ones are left out
constexpr double least_map = 168;    ///< px that the map has before the next tokens get room
constexpr double legend_width = 240;
constexpr double map_legend = 80;  ///< px below the map, at most
constexpr double section_height = 28;
constexpr double next_row = 22;
constexpr size_t most_next = 8;

class HeadPainter {
 public:
  HeadPainter(const HeadData& data, const HeadState& state, const Selection& selection, const Layout& layout)
      : data_(data), state_(state), selection_(selection), layout_(layout), measures_(head_measures(data)) {}

  Figure paint() {
    const Box body = paint_heading();
    const double top = body.y, bottom = body.bottom(), inner = body.width;
    if (layout_.width >= two_columns) {
      const double side = std::min(std::floor((inner - column_gap) / 2), bottom - top - map_legend);
      const bool drawn = side >= smallest_map;
      const double map_width = std::max(side, legend_width);
      paint_map({padding, top, map_width, bottom - top}, side);
      const double x = drawn ? padding + map_width + column_gap : padding;
      column_ = {x, top, std::min(widest_numbers, layout_.width - padding - x), bottom - top};
    } else {
      const double side = map_side(inner, bottom - top);
      const double below = paint_map({padding, top, inner, bottom - top}, side);
      column_ = {padding, below, inner, bottom - below};
    }
    paint_measures();
    paint_next();
    figure_.table = head_table(data_);
    return std::move(figure_);
  }

  /// Only the next token, at the foot of a figure that has nothing else.
  void paint_next_into(Figure& figure, const Box& room) {
    figure_ = std::move(figure);
    column_ = room;
    paint_next();
    figure = std::move(figure_);
  }

  static double next_height(size_t count) {
    return count == 0 ? 0 : section_height + next_row * static_cast<double>(std::min(count, most_next));
  }

 private:
  Paint accent_paint(double opacity = 1) const { return {accent(data_.facts.slot), opacity}; }

  void text(Point at, std::string_view what, TextRole role, ColourRole colour, Anchor anchor, double width) {
    add_fitted(figure_, at, what, role, {colour}, anchor, width, layout_);
  }

  /// Wide, the heading of every view; in a side panel, where the model is named beside it, a short one.
  Box paint_heading() {
    const std::string title = fmt::format("Layer {}, head {}", data_.layer, data_.head);
    if (layout_.width >= two_columns) {
      Box body;
      figure_ = begin_figure(title, fmt::format("{} It {}.", head_sentence(data_), sharing_text(data_, true)),
                             data_.facts, layout_, body);
      return body;
    }
    figure_.width = layout_.width;
    figure_.height = layout_.height;
    figure_.title = title;
    figure_.sentence = head_sentence(data_);
    const double inner = std::max(0.0, layout_.width - 2 * padding);
    text({padding, padding + 18}, title, TextRole::title, ColourRole::text, Anchor::start, inner);
    double y = padding + 24;
    std::string sharing = sharing_text(data_, true);
    if (layout_.text.width(sharing, TextRole::text) > inner) sharing = sharing_text(data_, false);
    for (const std::string& line : layout_.text.wrapped(sharing, TextRole::text, inner, 2)) {
      text({padding, y + 16}, line, TextRole::text, ColourRole::dim, Anchor::start, inner);
      y += 20;
    }
    y += 12;
    if (!data_.facts.badges.empty() && y + 28 <= layout_.height - padding) {
      add_badges(figure_, data_.facts.badges, layout_, y);
      y += 28;
    }
    return {padding, y, inner, layout_.height - padding - y};
  }

  double measure_pitch(double room) const { return room >= 48 * static_cast<double>(measures_.size()) + 24 ? 48 : 40; }

  /// The largest square that leaves room for the rest, or the smallest that is worth drawing.
  double map_side(double inner, double room) const {
    const double rest = map_legend + 40 * static_cast<double>(measures_.size()) + 20 +
                        (data_.next.empty() ? 0 : 8 + next_height(data_.next.size()));
    return std::min({inner, std::max(least_map, room - rest), room - map_legend});
  }

  // --- the map ------------------------------------------------------------------------------------------------

  /// A square of `side` px and its legend in `room`; returns where they end.
  double paint_map(const Box& room, double side) {
    side = std::floor(side);
    if (side < smallest_map || room.width < side) return room.y;
    side = settled(side);
    const Box box{room.x, room.y, side, side};
    figure_.add(RectMark{box.grown(1), {}, Paint{ColourRole::line}});
    const std::string where = fmt::format("layer {}, head {}", data_.layer, data_.head);
    if (data_.map.empty()) {
      figure_.add(RectMark{box, Paint{ColourRole::raised, 0.5}, {}}, {"head/map", where + "\nbeing computed"});
    } else {
      paint_cells(box, where);
    }
    const double y = box.bottom() + 8;
    const int64_t invalid = count_invalid(data_.map);
    const LegendText words{fmt::format("attention weight, {}", scale_.logarithmic ? "logarithmic" : "linear"),
                           pooling_text(drawn_bin_, false) + invalid_text(invalid)};
    const Layout within{room.right(), layout_.height, layout_.scale, layout_.text};
    return y + add_legend(figure_, {room.x, y}, room.width, scale_, words, invalid > 0, true, within) + 8;
  }

  /// Slightly smaller when that gives each cell the same whole number of device pixels.
  double settled(double side) const {
    if (data_.map.empty()) return side;
    const int64_t cells = data_.map.cols, factor = pool_factor(cells, side * layout_.scale);
    const auto drawn = static_cast<double>((cells + factor - 1) / factor);
    const double even = std::floor(side * layout_.scale / drawn) * drawn / layout_.scale;
    return even >= 0.9 * side ? even : side;
  }

  void paint_cells(const Box& box, const std::string& where) {
    const int64_t factor = pool_factor(std::max(data_.map.rows, data_.map.cols), box.width * layout_.scale);
    const int64_t tokens = data_.facts.tokens;
    drawn_bin_ = data_.bin * factor;
    find_scale();
    const Grid cells = pooled(data_.map, factor, Pooling::max, tokens, tokens, data_.bin);
    figure_.add(ImageMark{box, cells, scale_},
                {"head/map", fmt::format("{}\n{}", where, pooling_text(data_.bin, false))});
    // The last cell may reach beyond the last token; all cells are drawn of one size.
    const double px = box.width / static_cast<double>(cells.cols * drawn_bin_);
    const auto place = [&](const std::optional<int64_t>& token) -> std::optional<double> {
      if (!token || *token < 0 || *token >= tokens) return {};
      return std::min(std::floor((static_cast<double>(*token) + 0.5) * px), box.width - 1);
    };
    const Paint line{ColourRole::selection, 0.8};
    if (const auto y = place(selection_.query)) figure_.add(RectMark{{box.x, box.y + *y, box.width, 1}, line, {}});
    if (const auto x = place(selection_.key)) figure_.add(RectMark{{box.x + *x, box.y, 1, box.height}, line, {}});
  }

  void find_scale() {
    if (state_.log_colour) return;
    double most = 0;
    for (int64_t r = 0; r < data_.map.rows; ++r) {
      for (int64_t c = 0; c < data_.map.cols; ++c) {
        if (r > 0 || c > 0) most = std::fmax(most, static_cast<double>(data_.map.at(r, c)));
      }
    }
    scale_ = {Ramp::attention, 0, most > 0 ? most : 1, false};
  }

  // --- numbers ------------------------------------------------------------------------------------------------

  void paint_measures() {
    const double pitch = measure_pitch(column_.height - (data_.next.empty() ? 0 : 8 + next_height(data_.next.size())));
    bool any = false;
    for (const HeadMeasure& measure : measures_) {
      if (column_.height < pitch || column_.width < 64) break;
      paint_measure(measure, column_.y, pitch);
      take(pitch);
      any = true;
    }
    if (!any || column_.height < 20) return;
    const bool others = state_.others && data_.others && data_.others->size() > 1;
    text({column_.x, column_.y + 12}, others ? "grey: attending evenly; ticks: all heads" : "grey: attending evenly",
         TextRole::caption, ColourRole::dim, Anchor::start, column_.width);
    take(20);
  }

  void take(double height) { column_.y += height, column_.height -= height; }

  void paint_measure(const HeadMeasure& measure, double y, double pitch) {
    const double value = data_.numbers.*measure.value, even = data_.even.*measure.value;
    const std::string number = measure_text(measure, value);
    const double taken = layout_.text.width(number, TextRole::number) + 8;
    text({column_.x, y + 14}, measure.name, TextRole::text, ColourRole::text, Anchor::start, column_.width - taken);
    text({column_.right(), y + 14}, number, TextRole::number, ColourRole::text, Anchor::end, column_.width);
    const Box bar{column_.x, y + 22, column_.width, 6};
    const auto place = [&](double v) { return bar.x + bar.width * std::clamp(v / measure.most, 0.0, 1.0); };
    figure_.add(RectMark{bar, Paint{ColourRole::raised}, {}, 0, 3});
    if (state_.others && data_.others) paint_others(measure, bar);
    if (std::isfinite(even)) {
      const double x = std::clamp(place(even) - 2, bar.x, bar.right() - 4);
      figure_.add(RectMark{{x, bar.y - 2, 4, bar.height + 4}, Paint{ColourRole::dim}, {}});
    }
    if (std::isfinite(value)) {
      const double x = std::clamp(place(value) - 5, bar.x, bar.right() - 10);
      figure_.add(RectMark{{x, bar.y - 2, 10, 10}, accent_paint(), {}, 0, 5});
    }
    figure_.add(RectMark{{column_.x, y, column_.width, pitch - 2}, {}, {}},
                {fmt::format("head/{}", measure.id), tooltip(measure, value, even)});
  }

  std::string tooltip(const HeadMeasure& measure, double value, double even) const {
    std::string out = fmt::format("{} {}, mean over the rows of the run\nattending evenly: {}", measure.name,
                                  measure_text(measure, value), measure_text(measure, even));
    if (!data_.others || !std::isfinite(value)) return out;
    const auto above = std::count_if(data_.others->begin(), data_.others->end(),
                                     [&](const HeadNumbers& other) { return other.*measure.value > value; });
    return out + fmt::format("\n{} of {} heads have more", above, data_.others->size());
  }

  /// A tick below the bar for every head; where several share a pixel, the tick is brighter.
  void paint_others(const HeadMeasure& measure, const Box& bar) {
    const auto columns = static_cast<size_t>(std::max(1.0, std::floor(bar.width)));
    std::vector<int> heads(columns);
    for (const HeadNumbers& other : *data_.others) {
      const double share = other.*measure.value / measure.most;
      if (!std::isfinite(share)) continue;
      ++heads[std::min(columns - 1, static_cast<size_t>(std::clamp(share, 0.0, 1.0) * bar.width))];
    }
    for (size_t i = 0; i < columns; ++i) {
      if (heads[i] == 0) continue;
      figure_.add(RectMark{{bar.x + static_cast<double>(i), bar.bottom() + 3, 1, 4},
                           Paint{ColourRole::dim, std::min(1.0, 0.4 + 0.15 * heads[i])},
                           {}});
    }
  }

  // --- next token ---------------------------------------------------------------------------------------------

  void paint_next() {
    if (data_.next.empty() || column_.height < 8 + section_height + next_row || column_.width < 96) return;
    take(8);
    text({column_.x, column_.y + 14}, "Next token", TextRole::label, ColourRole::text, Anchor::start, column_.width);
    const bool compared = std::isfinite(data_.next.front().before);
    if (compared) {
      text({column_.right(), column_.y + 14}, "before and now", TextRole::caption, ColourRole::dim, Anchor::end,
           column_.width - 96);
    }
    take(section_height - 4);
    double most = 0;
    for (const NextToken& next : data_.next) most = std::fmax(most, next.probability);
    for (size_t i = 0; i < std::min(data_.next.size(), most_next) && column_.height >= next_row; ++i) {
      paint_next_row(i, most, compared);
      take(next_row);
    }
  }

  static std::string share_text(double share) { return share >= 0.005 ? fmt::format("{:.2f}", share) : "<.01"; }

  void paint_next_row(size_t index, double most, bool compared) {
    const NextToken& next = data_.next[index];
    const std::string share =
        compared ? share_text(next.before) + " \u2192 " + share_text(next.probability) : share_text(next.probability);
    const std::string_view widest = compared ? "0.00 \u2192 0.00" : "0.00";
    const double label = std::floor(column_.width * 0.3), number = layout_.text.width(widest, TextRole::number);
    const double bar_x = column_.x + label + 8, longest = column_.right() - number - 12 - bar_x, y = column_.y;
    text({column_.x, y + 15}, token_label(next.piece, layout_.text), TextRole::number, ColourRole::text, Anchor::start,
         label);
    if (next.probability > 0 && longest > 0) {
      const double width = std::max(1.0, longest * next.probability / most);
      figure_.add(RectMark{{bar_x, y + 5, width, 12}, accent_paint(0.5), {}, 0, 2});
    }
    text({column_.right(), y + 15}, share, TextRole::number, ColourRole::dim, Anchor::end, number + 8);
    std::string words =
        fmt::format("{}\nprobability {}", token_label(next.piece, layout_.text), weight_text(next.probability));
    if (compared) words += fmt::format("\nbefore the heads were switched: {}", weight_text(next.before));
    figure_.add(RectMark{{column_.x, y, column_.width, next_row}, {}, {}},
                {fmt::format("head/next/{}", index), std::move(words)});
  }

  const HeadData& data_;
  const HeadState& state_;
  const Selection& selection_;
  const Layout& layout_;
  const std::vector<HeadMeasure> measures_;
  ColourScale scale_{Ramp::attention, map_floor(data_.facts.tokens), 1, true};
  int64_t drawn_bin_ = data_.bin;
  Box column_;  ///< what is left for numbers and the next token
  Figure figure_;
};

}  // namespace

Json to_json(const HeadState& state) { return {{"log_colour", state.log_colour}, {"others", state.others}}; }

HeadState head_state(const Json& json) {
  HeadState state;
  StateReader reader(json, "head");
  reader.read("log_colour", state.log_colour);
  reader.read("others", state.others);
  reader.finish();
  return state;
}

Figure head(const HeadData& data, const HeadState& state, const Selection& selection, const Layout& layout) {
  const std::string title = "Selected head", shows = "Shows one head's map and how it compares with all others.";
  if (data.facts.model.empty() || data.facts.tokens <= 0) return empty_figure(title, shows, data.facts, layout);
  if (data.layer >= 0 && data.head >= 0) {
    check_head(data);
    return HeadPainter(data, state, selection, layout).paint();
  }
  const double next = HeadPainter::next_height(data.next.size());
  const bool both = next > 0 && layout.height >= next + 240;
  const Layout upper{layout.width, layout.height - (both ? next + padding : 0), layout.scale, layout.text};
  Figure figure =
      empty_figure(title, shows, "No head is selected.", "Choose a head in the atlas.", data.facts.slot, upper);
  figure.height = layout.height;
  if (both) {
    const double y = layout.height - padding - next - 8;
    HeadPainter(data, state, selection, layout)
        .paint_next_into(figure, {padding, y, layout.width - 2 * padding, layout.height - padding - y});
  }
  return figure;
}

}  // namespace headscope
