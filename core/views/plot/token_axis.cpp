#include "core/views/plot/token_axis.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/views/plot/ticks.h"
#include "core/views/utf8.h"

namespace headscope {
namespace {

constexpr TextRole label_role = TextRole::number_small;
constexpr double every_token_pitch = 11;
constexpr double numbered_distance = 24;  ///< px between numbered labels
constexpr double gap_to_map = 6;

double line_height() { return TextMeasurer::rise(label_role) + TextMeasurer::drop(label_role); }

}  // namespace

TokenAxis::TokenAxis(Range range, const TokenTexts& pieces, std::optional<int64_t> selected, double longest,
                     const TextMeasurer& measurer)
    : range_(range) {
  if (range.end <= range.begin || !(range.pitch > 0)) return;
  if (selected && (*selected < range.begin || *selected >= range.end)) selected.reset();
  const bool every = range.pitch >= every_token_pitch;
  const int64_t step =
      every ? 1 : static_cast<int64_t>(std::lround(nice_step(std::max(1.0, numbered_distance / range.pitch))));
  const auto add = [&](int64_t token) {
    const bool named = token < static_cast<int64_t>(pieces.size());
    const std::string piece = named ? token_label(pieces[static_cast<size_t>(token)], measurer) : std::string();
    const std::string text = every && named ? piece
                             : named        ? fmt::format("{} {}", token, piece)
                                            : fmt::format("{}", token);
    labels_.push_back({token, measurer.fitted(text, label_role, longest), token == selected});
  };
  for (int64_t token = (range.begin + step - 1) / step * step; token < range.end; token += step) {
    const double away = selected ? std::abs(static_cast<double>(token - *selected)) * range.pitch : 1e9;
    if (token != selected && away >= (every ? 0 : line_height() + 1)) add(token);
  }
  if (selected) add(*selected);
  for (const Label& label : labels_) room_ = std::max(room_, measurer.width(label.text, label_role) + gap_to_map);
}

void TokenAxis::draw_left(Figure& figure, double x, double y) const {
  const double to_baseline = (TextMeasurer::rise(label_role) - TextMeasurer::drop(label_role)) / 2;
  for (const Label& label : labels_) {
    figure.add(TextMark{{x - gap_to_map, y + centre(label) + to_baseline},
                        label.text,
                        label_role,
                        {label.selected ? ColourRole::text : ColourRole::dim},
                        Anchor::end});
  }
}

void TokenAxis::draw_below(Figure& figure, double x, double y) const {
  const double to_baseline = (TextMeasurer::rise(label_role) - TextMeasurer::drop(label_role)) / 2;
  for (const Label& label : labels_) {
    figure.add(TextMark{{x + centre(label) + to_baseline, y + gap_to_map},
                        label.text,
                        label_role,
                        {label.selected ? ColourRole::text : ColourRole::dim},
                        Anchor::end,
                        true});
  }
}

bool has_right_to_left(std::string_view utf8) {
  for (size_t i = 0; i < utf8.size();) {
    const char32_t c = next_code_point(utf8, i);
    if ((c >= 0x590 && c <= 0x8FF) || (c >= 0xFB1D && c <= 0xFDFF) || (c >= 0xFE70 && c <= 0xFEFC)) return true;
  }
  return false;
}

}  // namespace headscope
