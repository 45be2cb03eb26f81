#include "core/views/kv.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/base/text.h"
#include "core/views/kv_chart.h"
#include "core/views/kv_layers.h"
#include "core/views/kv_reading.h"
#include "core/views/state_json.h"

namespace headscope {
namespace {

constexpr std::string_view kv_title = "KV memory";
constexpr double strip_height = 200;  ///< px below which the figure is a strip: words left, chart right

std::string comparison(std::string_view name, uint64_t bytes) {
  return bytes == 0 ? "" : fmt::format("as {} {}", name, format_bytes(bytes));
}

/// Where the measured bytes of a layer are not what the formula says, or empty.
std::string disagreement(const KvData& data) {
  for (const KvLayerBytes& l : data.layers) {
    const auto expected = static_cast<uint64_t>(bytes_after(l, data.facts.tokens));
    if (expected == l.used) continue;
    return fmt::format("layer {} holds {}, the formula says {}", l.layer, format_bytes(l.used), format_bytes(expected));
  }
  return "";
}

/// The full form: heading, equation and comparisons above the chart.
class KvPage {
 public:
  KvPage(const KvData& data, const KvState& state, const Layout& layout)
      : data_(data), state_(state), layout_(layout) {}

  Figure paint(const Selection& selection) {
    RunFacts facts = data_.facts;
    if (std::string remark = disagreement(data_); !remark.empty()) facts.badges.push_back(std::move(remark));
    // In a low, wide figure the words stand beside the chart instead of above it.
    const bool beside = layout_.height < 260 && layout_.width >= 800;
    constexpr double words_width = 480;
    const Layout words{beside ? words_width : layout_.width, layout_.height, layout_.scale, layout_.text};
    Box body;
    Figure figure = begin_figure(std::string(kv_title), kv_sentence(data_), facts, words, body);
    figure.width = layout_.width;
    const double text_height = paint_text(figure, {body.x, body.y - 4, body.width, body.height});
    const Box room = beside ? Box{words_width + 16, padding, layout_.width - words_width - 16 - padding,
                                  layout_.height - padding - 8}
                            : Box{body.x, body.y + text_height + 12, body.width, body.height - text_height - 12};
    if (room.width >= 160 && room.height >= 64) {
      add_kv_chart(figure, room, false, data_, state_, selection, layout_);
    }
    return figure;
  }

 private:
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
      paint_comparisons(figure, room, y);
      y += 20;
    }
    return y - room.y;
  }

  void paint_comparisons(Figure& figure, const Box& room, double y) {
    double x = room.x;
    const auto add = [&](const std::string& text) {
      if (text.empty()) return;
      add_fitted(figure, {x, y + 13}, text, TextRole::number, {ColourRole::dim}, Anchor::start, room.right() - x,
                 layout_);
      x += layout_.text.width(text, TextRole::number) + 24;
    };
    add(comparison("MHA", data_.as_mha_bytes));
    add(comparison("MQA", data_.as_mqa_bytes));
    for (const std::string_view remark :
         {"computed for the same layers and tokens, not measured", "computed, not measured"}) {
      if (layout_.text.width(remark, TextRole::caption) > room.right() - x) continue;
      add_fitted(figure, {x, y + 13}, remark, TextRole::caption, {ColourRole::dim}, Anchor::start, room.right() - x,
                 layout_);
      break;
    }
  }

  const KvData& data_;
  const KvState& state_;
  const Layout& layout_;
};

/// The low form for the window's foot: a few lines of words left, the chart right.
class KvStrip {
 public:
  KvStrip(const KvData& data, const KvState& state, const Layout& layout)
      : data_(data), state_(state), layout_(layout), margin_(layout.height < 120 ? 8 : 12) {}

  Figure paint(const Selection& selection) {
    Figure figure;
    figure.width = layout_.width;
    figure.height = layout_.height;
    figure.title = kv_title;
    figure.sentence = kv_sentence(data_);
    const double inner = layout_.width - 2 * padding;
    constexpr double bars = 200, least_for_bars = 900;
    double words = std::min(inner, std::max(240.0, std::min(420.0, std::floor(inner * 0.42))));
    constexpr double gap = 24, narrowest_chart = 160;
    const bool chart = inner - words - gap >= narrowest_chart;
    if (!chart) words = inner;
    paint_words(figure, words);
    if (chart) {
      double x = padding + words + gap;
      const double y = margin_ - 4, height = layout_.height - 2 * margin_ + 8;
      if (inner >= least_for_bars) {
        const double width = add_kv_layers(figure, {x, y, bars, height}, data_, selection, layout_);
        x += width > 0 ? width + gap : 0;
      }
      add_kv_chart(figure, {x, y, layout_.width - padding - x, height}, true, data_, state_, selection, layout_);
    }
    return figure;
  }

 private:
  struct Line {
    std::string text;
    TextRole role;
    ColourRole colour;
  };

  /// What there is to say in at most `room` lines. The title gives way first: the place of the strip says what it
  /// shows. Then the comparisons.
  std::vector<Line> lines(double width, size_t room) const {
    std::vector<Line> out{
        {fmt::format("{} used of {} allocated", format_bytes(total_used(data_)), format_bytes(total_allocated(data_))),
         TextRole::text, ColourRole::dim}};
    const std::string remark = disagreement(data_);
    const size_t left = room - std::min(room, out.size() + (remark.empty() ? 0 : 1));
    if (left > 0) {
      for (std::string& part : layout_.text.wrapped(printable(data_.equation, layout_.text), TextRole::number_small,
                                                    width, std::min<size_t>(left, 3))) {
        out.push_back({std::move(part), TextRole::number_small, ColourRole::text});
      }
    }
    if (!remark.empty()) out.push_back({remark, TextRole::caption, ColourRole::warning});
    const std::string mha = comparison("MHA", data_.as_mha_bytes), mqa = comparison("MQA", data_.as_mqa_bytes);
    const std::string both = mha + (mha.empty() || mqa.empty() ? "" : "   ") + mqa;
    if (out.size() < room && state_.comparisons && !both.empty()) {
      out.push_back({both, TextRole::number_small, ColourRole::dim});
    }
    if (out.size() < room) out.insert(out.begin(), {std::string(kv_title), TextRole::label, ColourRole::text});
    return out;
  }

  void paint_words(Figure& figure, double width) {
    constexpr double pitch = 18;
    const double height = layout_.height - 2 * margin_ + 4;
    const auto room = static_cast<size_t>(std::max(0.0, std::floor(height / pitch)));
    double y = margin_ - 2;
    size_t left = room;
    for (const Line& line : lines(width, room)) {
      if (left-- == 0) break;
      add_fitted(figure, {padding, y + 14}, line.text, line.role, {line.colour}, Anchor::start, width, layout_);
      y += pitch;
    }
    // What is shortened above is whole in the tooltip.
    if (y > margin_ && width > 0) {
      figure.add(RectMark{{padding, margin_ - 2, width, y - margin_ + 2}, {}, {}},
                 {"kv/equation", fmt::format("{}\n{}", kv_sentence(data_), data_.equation)});
    }
  }

  const KvData& data_;
  const KvState& state_;
  const Layout& layout_;
  const double margin_;  ///< px above and below
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
  Figure figure = layout.height < strip_height ? KvStrip(data, state, layout).paint(selection)
                                               : KvPage(data, state, layout).paint(selection);
  figure.table = kv_table(data);
  return figure;
}

}  // namespace headscope
