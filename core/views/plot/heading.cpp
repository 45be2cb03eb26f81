#include "core/views/plot/heading.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/base/text.h"

namespace headscope {
namespace {

constexpr double title_height = 24;
constexpr double line_height = 20;
constexpr double chip_height = 20;

/// The model at the right end of the title's line; returns how many px it takes.
double add_model(Figure& figure, const RunFacts& facts, const Layout& layout, double baseline) {
  const double available = (layout.width - 2 * padding) * 0.5;
  std::string details = facts.variant;
  if (facts.tokens > 0) {
    details += fmt::format("{}{} token{}", details.empty() ? "" : "  ",
                           format_count(static_cast<uint64_t>(facts.tokens)), facts.tokens == 1 ? "" : "s");
  }
  const double details_width = layout.text.width(details, TextRole::caption);
  const double right = layout.width - padding;
  if (details_width > available) return 0;
  add_fitted(figure, {right, baseline}, details, TextRole::caption, {ColourRole::dim}, Anchor::end, available, layout);
  const double gap = 8;
  const std::string name =
      layout.text.fitted(printable(facts.model, layout.text), TextRole::caption, available - details_width - gap);
  add_fitted(figure, {right - details_width - gap, baseline}, name, TextRole::caption, {accent(facts.slot)},
             Anchor::end, available, layout);
  return details_width + gap + layout.text.width(name, TextRole::caption) + 2 * padding;
}

/// Notes at the foot, where that leaves room above; returns the height they take.
double add_notes(Figure& figure, const std::vector<std::string>& notes, const Layout& layout, double top) {
  std::string joined;
  for (const std::string& note : notes) joined += (joined.empty() ? "" : "  \u00B7  ") + note;
  const auto lines =
      layout.text.wrapped(printable(joined, layout.text), TextRole::caption, layout.width - 2 * padding, 2);
  const double height = line_height * static_cast<double>(lines.size());
  constexpr double least_body = 80;
  if (lines.empty() || top + least_body + height > layout.height - padding) return 0;
  double baseline = layout.height - padding - height + 16;
  for (const std::string& line : lines) {
    add_fitted(figure, {padding, baseline}, line, TextRole::caption, {ColourRole::dim}, Anchor::start, layout.width,
               layout);
    baseline += line_height;
  }
  return height;
}

}  // namespace

void add_badges(Figure& figure, const std::vector<std::string>& badges, const Layout& layout, double top) {
  double x = padding;
  for (const std::string& badge : badges) {
    const std::string text =
        layout.text.fitted(printable(badge, layout.text), TextRole::caption, layout.width - padding - 16 - x);
    if (text.empty()) return;
    const double width = layout.text.width(text, TextRole::caption) + 16;
    figure.add(
        RectMark{{x, top, width, chip_height}, Paint{ColourRole::raised}, Paint{ColourRole::warning, 0.5}, 1, 4});
    add_fitted(figure, {x + 8, top + 14}, text, TextRole::caption, {ColourRole::warning}, Anchor::start, width, layout);
    x += width + 8;
  }
}

void add_fitted(Figure& figure, Point at, std::string_view text, TextRole role, Paint paint, Anchor anchor,
                double width, const Layout& layout) {
  TextMark mark{at, layout.text.fitted(printable(text, layout.text), role, width), role, paint, anchor};
  if (mark.text.empty()) return;
  const Box box = bounds({mark, {}}, layout.text);
  if (box.x < 0 || box.y < 0 || box.right() > figure.width || box.bottom() > figure.height) return;
  figure.add(std::move(mark));
}

Figure begin_figure(std::string title, std::string sentence, const RunFacts& facts, const Layout& layout, Box& body) {
  Figure figure;
  figure.width = layout.width;
  figure.height = layout.height;
  figure.title = std::move(title);
  figure.sentence = std::move(sentence);
  const double inner = std::max(0.0, layout.width - 2 * padding);
  double y = padding;
  const double taken = add_model(figure, facts, layout, y + 18);
  add_fitted(figure, {padding, y + 18}, figure.title, TextRole::title, {ColourRole::text}, Anchor::start, inner - taken,
             layout);
  y += title_height;
  for (const std::string& line : layout.text.wrapped(printable(figure.sentence, layout.text), TextRole::text, inner,
                                                     layout.height < 160 ? 1 : 3)) {
    add_fitted(figure, {padding, y + 16}, line, TextRole::text, {ColourRole::dim}, Anchor::start, inner, layout);
    y += line_height;
  }
  if (!facts.badges.empty() && y + 8 + chip_height <= layout.height - padding) {
    add_badges(figure, facts.badges, layout, y + 8);
    y += chip_height + 8;
  }
  y += 12;
  const double foot = add_notes(figure, facts.notes, layout, y);
  body = {padding, y, inner, std::max(0.0, layout.height - padding - foot - (foot > 0 ? 8 : 0) - y)};
  return figure;
}

Figure empty_figure(std::string title, std::string shows, std::string why, std::string action, ModelSlot slot,
                    const Layout& layout) {
  Figure figure;
  figure.width = layout.width;
  figure.height = layout.height;
  figure.title = std::move(title);
  figure.sentence = fmt::format("{} {} {}", shows, why, action);
  const double inner = std::max(0.0, layout.width - 2 * padding);
  const double column = std::min(inner, 560.0);
  struct Part {
    const std::string& text;
    TextRole role;
    ColourRole colour;
  };
  const Part parts[] = {{figure.title, TextRole::title, ColourRole::text},
                        {shows, TextRole::text, ColourRole::dim},
                        {why, TextRole::text, ColourRole::text},
                        {action, TextRole::text, accent(slot)}};
  struct Row {
    std::string text;
    const Part* part;
    double space;
  };
  std::vector<Row> rows;
  double height = 0;
  for (const Part& part : parts) {
    double space = part.role == TextRole::title ? 0 : 12;
    for (std::string& line : layout.text.wrapped(printable(part.text, layout.text), part.role, column, 4)) {
      height += line_height + space;
      rows.push_back({std::move(line), &part, space});
      space = 0;
    }
  }
  const bool tight = height > layout.height - 2 * padding;
  if (tight) {
    for (Row& row : rows) height -= std::exchange(row.space, row.space / 3) * 2 / 3;
  }
  double y = std::max(padding / 2, (layout.height - height) / 2);
  for (const Row& row : rows) {
    y += row.space;
    add_fitted(figure, {layout.width / 2, y + 16}, row.text, row.part->role, {row.part->colour}, Anchor::middle, inner,
               layout);
    y += line_height;
  }
  return figure;
}

Figure empty_figure(std::string title, std::string shows, const RunFacts& facts, const Layout& layout) {
  const bool no_model = facts.model.empty();
  return empty_figure(std::move(title), std::move(shows), no_model ? "No model is open." : "Nothing has been run yet.",
                      no_model ? "Open a model." : "Run a prompt.", facts.slot, layout);
}

}  // namespace headscope
