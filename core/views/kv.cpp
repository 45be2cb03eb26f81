#include "core/views/kv.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/base/text.h"
#include "core/views/kv_reading.h"
#include "core/views/plot/ticks.h"
#include "core/views/state_json.h"

namespace headscope {
namespace {

constexpr std::string_view kv_title = "KV memory";
constexpr double strip_words_width = 480;
constexpr double narrowest_bar = 4;  ///< px a token; below it the steps join into an area

class KvPainter {
 public:
  KvPainter(const KvData& data, const KvState& state, const Selection& selection, const Layout& layout)
      : data_(data), state_(state), selection_(selection), layout_(layout) {}

  Figure paint() {
    RunFacts facts = data_.facts;
    for (const KvLayerBytes& l : data_.layers) {
      const auto expected = static_cast<uint64_t>(bytes_after(l, data_.facts.tokens));
      if (expected == l.used) continue;
      facts.badges.push_back(
          fmt::format("layer {} holds {}, the formula says {}", l.layer, format_bytes(l.used), format_bytes(expected)));
      break;
    }
    // In a strip the words stand beside the chart instead of above it.
    const bool strip = layout_.height < 260 && layout_.width >= 800;
    const Layout words{strip ? strip_words_width : layout_.width, layout_.height, layout_.scale, layout_.text};
    Box body;
    Figure figure = begin_figure(std::string(kv_title), kv_sentence(data_), facts, words, body);
    figure.width = layout_.width;
    const double text_height = paint_text(figure, {body.x, body.y - 4, body.width, body.height});
    const Box room = strip ? Box{strip_words_width + 16, padding, layout_.width - strip_words_width - 16 - padding,
                                 layout_.height - padding - 8}
                           : Box{body.x, body.y + text_height + 12, body.width, body.height - text_height - 12};
    if (room.width >= 160 && room.height >= 64) paint_chart(figure, room);
    figure.table = kv_table(data_);
    return figure;
  }

 private:
  static Paint shade(double part, ModelSlot slot) { return {accent(slot), 0.35 + 0.65 * part}; }

  Paint layer_paint(size_t i) const {
    const auto count = static_cast<double>(data_.layers.size());
    return shade(count > 1 ? static_cast<double>(i) / (count - 1) : 1.0, data_.facts.slot);
  }

  /// Equation and what other groupings would hold; returns the height.
  double paint_text(Figure& figure, const Box& room) {
    double y = room.y;
    const auto fits = [&] { return y + 20 <= room.bottom(); };
    if (!data_.equation.empty()) {
      for (const std::string& line :
           layout_.text.wrapped(printable(data_.equation, layout_.text), TextRole::number, room.width, 2)) {
        if (!fits()) break;
        add_fitted(figure, {room.x, y + 13}, line, TextRole::number, {ColourRole::text}, Anchor::start, room.width,
                   layout_);
        y += 20;
      }
    }
    if (fits() && state_.comparisons && (data_.as_mha_bytes > 0 || data_.as_mqa_bytes > 0)) {
      double x = room.x;
      const auto add = [&](std::string_view name, uint64_t bytes) {
        if (bytes == 0) return;
        const std::string text = fmt::format("as {} {}", name, format_bytes(bytes));
        add_fitted(figure, {x, y + 13}, text, TextRole::number, {ColourRole::dim}, Anchor::start, room.right() - x,
                   layout_);
        x += layout_.text.width(text, TextRole::number) + 24;
      };
      add("MHA", data_.as_mha_bytes);
      add("MQA", data_.as_mqa_bytes);
      for (const std::string_view remark :
           {"computed for the same layers and tokens, not measured", "computed, not measured"}) {
        if (layout_.text.width(remark, TextRole::caption) > room.right() - x) continue;
        add_fitted(figure, {x, y + 13}, remark, TextRole::caption, {ColourRole::dim}, Anchor::start, room.right() - x,
                   layout_);
        break;
      }
      y += 20;
    }
    return y - room.y;
  }

  double x_of(double token) const { return chart_.x + token * chart_.width / static_cast<double>(data_.facts.tokens); }
  double y_of(double bytes) const { return chart_.bottom() - bytes / top_ * chart_.height; }

  void paint_chart(Figure& figure, const Box& room) {
    const bool has_title = room.height >= 200;  // the axis' name goes first when height is short
    const double below = has_title ? 36 : 20;
    chart_ = {room.x, room.y + 20, room.width, room.height - 20 - below};
    if (chart_.height < 24) return;
    find_top();
    const std::vector<Tick> ticks = byte_ticks(top_, std::max(3, static_cast<int>(chart_.height / 44)));
    double axis = 0;
    for (const Tick& tick : ticks) axis = std::max(axis, layout_.text.width(tick.label, TextRole::number_small));
    const double names = room.width >= 480 ? layer_names_width() : 0;
    chart_.x = room.x + std::ceil((axis + 8) / 4) * 4;
    chart_.width = room.right() - chart_.x - names;
    if (chart_.width < 64) return;
    paint_y_axis(figure, ticks);
    paint_layers(figure);
    if (state_.allocated) paint_allocated(figure);
    paint_x_axis(figure, has_title);
    paint_parts(figure);
    if (names > 0) paint_names(figure);
  }

  /// Leaves 24 px above the highest bytes for the label of the line there.
  void find_top() {
    double most = static_cast<double>(total_used(data_));
    if (state_.allocated) {
      most = std::max(most, static_cast<double>(total_allocated(data_)));
      for (const uint64_t bytes : data_.allocated_history) most = std::max(most, static_cast<double>(bytes));
    }
    top_ = std::max(1.0, most) * chart_.height / std::max(chart_.height / 2, chart_.height - 24);
  }

  void paint_y_axis(Figure& figure, const std::vector<Tick>& ticks) {
    for (const Tick& tick : ticks) {
      const double y = std::round(y_of(tick.value));
      figure.add(RectMark{{chart_.x, y, chart_.width, 1}, Paint{ColourRole::line, tick.value == 0 ? 1.0 : 0.6}, {}});
      add_fitted(figure, {chart_.x - 8, y + 4}, tick.label, TextRole::number_small, {ColourRole::dim}, Anchor::end, 1e9,
                 layout_);
    }
  }

  /// Bytes below layer `i` after each token, by formula; the last step is the measured one.
  double stacked(size_t layers, int64_t tokens) const {
    double sum = 0;
    for (size_t i = 0; i < layers; ++i) {
      sum += tokens == data_.facts.tokens ? static_cast<double>(data_.layers[i].used)
                                          : bytes_after(data_.layers[i], tokens);
    }
    return sum;
  }

  void paint_layers(Figure& figure) {
    const int64_t n = data_.facts.tokens;
    const double pitch = chart_.width / static_cast<double>(n);
    // One step a token, or one a pixel where tokens are narrower.
    const int64_t step = std::max<int64_t>(1, static_cast<int64_t>(std::ceil(1 / pitch)));
    const double gap = pitch >= narrowest_bar ? 1 : 0;
    paint_band(figure, 0, data_.layers.size(), step, gap, {figure.background});  // so that no grid line shines through
    for (size_t i = 0; i < data_.layers.size(); ++i) paint_band(figure, i, i + 1, step, gap, layer_paint(i));
    paint_regions(figure);
  }

  /// The bytes of layers [first, last) over all tokens.
  void paint_band(Figure& figure, size_t first, size_t last, int64_t step, double gap, Paint paint) const {
    const int64_t n = data_.facts.tokens;
    // Long areas are drawn in parts: a rasteriser has room for some thousands of corners. Parts meet on whole pixels.
    constexpr size_t most_corners = 2000;
    std::vector<Point> upper, lower;
    const auto flush = [&] {
      if (upper.empty()) return;
      upper.insert(upper.end(), lower.rbegin(), lower.rend());
      figure.add(PolygonMark{std::exchange(upper, {}), paint});
      lower.clear();
    };
    for (int64_t from = 0; from < n; from += step) {
      const int64_t to = std::min(n, from + step);
      const double x0 = std::round(x_of(static_cast<double>(from))),
                   x1 = std::round(x_of(static_cast<double>(to))) - gap;
      const double y0 = y_of(stacked(last, to)), y1 = y_of(stacked(first, to));
      if (gap == 0) {
        upper.insert(upper.end(), {{x0, y0}, {x1, y0}});
        lower.insert(lower.end(), {{x0, y1}, {x1, y1}});
        if (upper.size() >= most_corners) flush();
      } else if (y1 > y0) {
        figure.add(RectMark{{x0, y0, x1 - x0, y1 - y0}, paint, {}});
      }
    }
    flush();
  }

  /// What the pointer finds: each layer's part of the last step's height, over the whole width.
  void paint_regions(Figure& figure) {
    for (size_t i = 0; i < data_.layers.size(); ++i) {
      const KvLayerBytes& l = data_.layers[i];
      const double y0 = y_of(stacked(i + 1, data_.facts.tokens)), y1 = y_of(stacked(i, data_.facts.tokens));
      figure.add(RectMark{{chart_.x, y0, chart_.width, std::max(1.0, y1 - y0)}, {}, {}},
                 {fmt::format("kv/layer/{}", l.layer),
                  fmt::format("cache of layer {}\n{} used of {} allocated\n{} a token{}", l.layer, format_bytes(l.used),
                              format_bytes(l.allocated), format_bytes(l.bytes_per_token),
                              l.window > 0 ? fmt::format("\nkeeps the last {} tokens", l.window) : "")});
    }
  }

  void paint_allocated(Figure& figure) {
    const Paint paint{ColourRole::text, 0.7};
    const double level = std::round(y_of(static_cast<double>(total_allocated(data_))));
    // The label stands where the line has that height: all along, or at its end.
    const bool grew = !data_.allocated_history.empty();
    if (grew) {
      figure.add(PolylineMark{allocation_steps(), paint, 1});
    } else {
      figure.add(RectMark{{chart_.x, level, chart_.width, 1}, paint, {}});
    }
    add_fitted(figure, {grew ? chart_.right() - 4 : chart_.x + 4, level - 6},
               fmt::format("allocated {}", format_bytes(total_allocated(data_))), TextRole::caption, {ColourRole::text},
               grew ? Anchor::end : Anchor::start, chart_.width - 8, layout_);
  }

  /// Corners of the line of allocated bytes, on pixel centres.
  std::vector<Point> allocation_steps() const {
    std::vector<Point> points;
    for (int64_t t = 0; t < data_.facts.tokens; ++t) {
      const double y = std::round(y_of(static_cast<double>(data_.allocated_history[static_cast<size_t>(t)]))) + 0.5;
      const double x0 = std::round(x_of(static_cast<double>(t))) + 0.5;
      const double x1 = std::min(std::round(x_of(static_cast<double>(t + 1))) + 0.5, chart_.right() - 0.5);
      if (!points.empty() && points.back().y == y) {
        points.back().x = x1;
        continue;
      }
      points.insert(points.end(), {{x0, y}, {x1, y}});
    }
    return points;
  }

  void paint_x_axis(Figure& figure, bool has_title) {
    const double n = static_cast<double>(data_.facts.tokens);
    std::vector<Tick> ticks = nice_ticks(0, n, std::max(2, static_cast<int>(chart_.width / 64)), 1);
    for (const Tick& tick : ticks) {
      const double x = std::round(x_of(tick.value));
      figure.add(RectMark{{std::min(x, chart_.right() - 1), chart_.bottom(), 1, 4}, Paint{ColourRole::line}, {}});
      add_fitted(figure, {x, chart_.bottom() + 16}, format_count(static_cast<uint64_t>(tick.value)),
                 TextRole::number_small, {ColourRole::dim}, Anchor::middle, 1e9, layout_);
    }
    if (!has_title) return;
    add_fitted(figure, {chart_.x + chart_.width / 2, chart_.bottom() + 32}, "tokens", TextRole::caption,
               {ColourRole::dim}, Anchor::middle, chart_.width, layout_);
  }

  /// Where the prompt ends and generated tokens begin.
  void paint_parts(Figure& figure) {
    const int64_t n = data_.facts.tokens, prompt = data_.prompt_tokens;
    if (prompt <= 0 || prompt >= n) return;
    const double x = std::round(x_of(static_cast<double>(prompt)));
    figure.add(RectMark{{x, chart_.y - 16, 1, chart_.height + 16}, Paint{ColourRole::dim}, {}});
    const double baseline = chart_.y - 6;
    add_fitted(figure, {x - 8, baseline}, fmt::format("prompt {}", format_count(static_cast<uint64_t>(prompt))),
               TextRole::caption, {ColourRole::dim}, Anchor::end, x - 8 - chart_.x, layout_);
    add_fitted(figure, {x + 8, baseline}, fmt::format("generated {}", format_count(static_cast<uint64_t>(n - prompt))),
               TextRole::caption, {ColourRole::dim}, Anchor::start, chart_.right() - x - 8, layout_);
  }

  static std::string layer_name(const KvLayerBytes& l) { return fmt::format("layer {}", l.layer); }

  double layer_names_width() const {
    double name = 0, bytes = 0;
    for (const auto& l : data_.layers) {
      name = std::max(name, layout_.text.width(layer_name(l), TextRole::number_small));
      bytes = std::max(bytes, layout_.text.width(format_bytes(l.used), TextRole::number_small));
    }
    return std::ceil((12 + name + 12 + bytes) / 4) * 4;
  }

  /// Each layer's name and bytes beside its band, as many as have room; the selected one stands out.
  void paint_names(Figure& figure) {
    std::vector<double> centres, extents;
    const int64_t n = data_.facts.tokens;
    for (size_t i = data_.layers.size(); i-- > 0;) {
      const double top = y_of(stacked(i + 1, n)), bottom = y_of(stacked(i, n));
      centres.push_back((top + bottom) / 2);
      extents.push_back(12);
      if (selection_.layer != data_.layers[i].layer) continue;
      figure.add(RectMark{{chart_.right() + 2, top, 2, std::max(1.0, bottom - top)}, Paint{ColourRole::selection}, {}});
    }
    for (const size_t i : thinned(centres, extents, 1)) {
      const KvLayerBytes& l = data_.layers[data_.layers.size() - 1 - i];
      const Paint paint{selection_.layer == l.layer ? ColourRole::text : ColourRole::dim};
      add_fitted(figure, {chart_.right() + 12, centres[i] + 4}, layer_name(l), TextRole::number_small, paint,
                 Anchor::start, 1e9, layout_);
      add_fitted(figure, {layout_.width - padding, centres[i] + 4}, format_bytes(l.used), TextRole::number_small, paint,
                 Anchor::end, 1e9, layout_);
    }
  }

  const KvData& data_;
  const KvState& state_;
  const Selection& selection_;
  const Layout& layout_;
  Box chart_;
  double top_ = 1;  ///< bytes at the upper edge of the chart
};

}  // namespace

Json to_json(const KvState& state) { return {{"allocated", state.allocated}, {"comparisons", state.comparisons}}; }

KvState kv_state(const Json& json) {
  KvState state;
  StateReader reader(json, "kv");
  reader.read("allocated", state.allocated);
  reader.read("comparisons", state.comparisons);
  reader.finish();
  return state;
}

Figure kv(const KvData& data, const KvState& state, const Selection& selection, const Layout& layout) {
  if (data.layers.empty() || data.facts.tokens <= 0) {
    return empty_figure(std::string(kv_title), "Shows how many bytes of KV cache each layer holds, token by token.",
                        data.facts, layout);
  }
  check_kv(data);
  return KvPainter(data, state, selection, layout).paint();
}

}  // namespace headscope
