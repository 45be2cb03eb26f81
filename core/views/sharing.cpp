#include "core/views/sharing.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "core/views/sharing_cells.h"
#include "core/views/sharing_plan.h"

namespace headscope {
namespace {

Box disc(double x, double y, double diameter) { return {x - diameter / 2, y - diameter / 2, diameter, diameter}; }

class SharingPainter {
 public:
  SharingPainter(const SharingData& data, const Selection& selection, const Layout& layout)
      : data_(data),
        selection_(selection),
        layout_(layout),
        plan_(*data.architecture, layout.width, layout.height),
        dot_(std::clamp(plan_.pitch() - 2, 2.0, 9.0)) {}

  Figure paint() {
    figure_.width = layout_.width;
    figure_.height = layout_.height;
    figure_.title = "Sharing";
    figure_.sentence = plan_.sentence();
    const double inner = layout_.width - 2 * SharingPlan::margin;
    double y = SharingPlan::margin;
    for (const std::string& line :
         layout_.text.wrapped(figure_.sentence, TextRole::caption, inner, plan_.sentence_lines())) {
      words({SharingPlan::margin, y + 13}, line, inner);
      y += SharingPlan::line_height;
    }
    for (size_t row = 0; row < plan_.rows().size(); ++row) {
      if (plan_.row_y(row) + plan_.row_pitch() > layout_.height) break;
      if (plan_.dots_x() < layout_.width - SharingPlan::margin) paint_row(row);
    }
    y = plan_.row_y(plan_.rows().size()) + 4;
    if (!plan_.note().empty()) {
      add_fitted(figure_, {SharingPlan::margin, y + 13}, plan_.note(), TextRole::caption, {ColourRole::warning},
                 Anchor::start, inner, layout_);
      y += SharingPlan::line_height;
    }
    paint_key(y);
    add_table();
    return std::move(figure_);
  }

 private:
  Paint accent_paint() const { return {accent(data_.slot)}; }

  void words(Point at, std::string_view text, double width) {
    add_fitted(figure_, at, text, TextRole::caption, {ColourRole::dim}, Anchor::start, width, layout_);
  }

  /// Adds a shape unless it would leave the figure, which a very narrow one brings about; null then.
  template <class Shape>
  Primitive* add(Shape shape) {
    Primitive& added = figure_.add(std::move(shape));
    const Box box = bounds(added, layout_.text);
    if (box.x >= 0 && box.y >= 0 && box.right() <= figure_.width && box.bottom() <= figure_.height) return &added;
    figure_.primitives.pop_back();
    return nullptr;
  }

  /// The layer that a row shows: the selected one where it stands for it.
  int64_t layer_of(const SharingPlan::Row& row) const {
    return selection_.layer && row.covers(*selection_.layer) ? *selection_.layer : row.first;
  }

  std::optional<int64_t> selected_head(const SharingPlan::Row& row) const {
    const bool here = selection_.layer && row.covers(*selection_.layer) && selection_.head && *selection_.head >= 0;
    if (!here || *selection_.head / plan_.group_size(row.first) >= plan_.shown_kv_heads(row.first)) return {};
    return selection_.head;
  }

  void paint_row(size_t index) {
    const SharingPlan::Row& row = plan_.rows()[index];
    add_fitted(figure_, {plan_.label_right(), plan_.row_y(index) + std::floor(plan_.row_pitch() / 2) + 3},
               plan_.label(row), TextRole::number_small, {ColourRole::dim}, Anchor::end, plan_.label_right(), layout_);
    paint_lanes(index);
    paint_window(index);
    const std::optional<int64_t> selected = selected_head(row);
    const int64_t kv_heads = plan_.shown_kv_heads(row.first);
    for (int64_t kv = 0; kv < kv_heads; ++kv) paint_group(index, kv, selected);
    if (selected) paint_selected(index, *selected);
    for (int64_t kv = 0; kv < kv_heads; ++kv) add_regions(index, kv);
  }

  /// Lines from the query heads to the KV head they read, and both as dots.
  void paint_group(size_t index, int64_t kv, const std::optional<int64_t>& selected) {
    const SharingPlan::Row& row = plan_.rows()[index];
    const int64_t group = plan_.group_size(row.first), first = kv * group, last = first + group - 1;
    const double y = plan_.query_y(index), kv_x = plan_.kv_x(row.first, kv);
    const double kv_y = plan_.reads_other(row.first) ? plan_.kv_y(index) : kv_box(index, kv).y;
    const bool apart = plan_.heads_apart();
    for (int64_t q = first; q <= last; q += apart ? 1 : std::max<int64_t>(1, last - first)) {
      if (q == selected) continue;
      add(LineMark{{plan_.query_x(row.first, q), y}, {kv_x, kv_y}, {ColourRole::dim, 0.6}, 1});
    }
    if (apart) {
      for (int64_t q = first; q <= last; ++q)
        add(RectMark{disc(plan_.query_x(row.first, q), y, dot_), Paint{ColourRole::text}, {}, 0, dot_ / 2});
    } else {
      const double x = plan_.query_x(row.first, first) - plan_.pitch() / 2;
      const double width = static_cast<double>(group) * plan_.pitch();
      add(RectMark{{x, y - 2, std::max(1.0, width - (width > 4 ? 1 : 0)), 4}, Paint{ColourRole::text}, {}});
    }
    if (plan_.reads_other(row.first)) return;
    paint_cells(kv_box(index, kv), kv_cells(*data_.architecture, data_.architecture->store_of(row.first)));
  }

  /// Where a KV head's cells are: with letters where they have room, else smaller, at last a dot for all of it.
  Box kv_box(size_t index, int64_t kv) const {
    const int64_t layer = plan_.rows()[index].first;
    const double slot = plan_.kv_slot(layer), x = plan_.kv_x(layer, kv), y = plan_.kv_y(index);
    const double room = slot - std::clamp(0.25 * slot, 1.0, 9.0);  // heads are further apart than their cells
    const double lettered = width_of(kv_cells(*data_.architecture, data_.architecture->store_of(layer)));
    constexpr double tall = 13, low = 7, roomy_rows = 28;
    const bool letters = room >= lettered && plan_.row_pitch() >= roomy_rows;
    const double width = letters ? lettered : std::clamp(room, 2.0, 17.0);
    const double height = letters ? tall : std::min(width, low);
    return {x - width / 2, y - height / 2 + (letters ? 0 : 1), width, height};
  }

  /// Filled: stored; outlined: made when read. Letters where they fit; a single shape where cells do not.
  void paint_cells(const Box& box, const std::vector<KvCell>& cells) {
    constexpr double narrowest = 7;
    if (box.width < narrowest) {
      add(RectMark{box, accent_paint(), {}, 0, 1});
      return;
    }
    const double gaps = cell_gap * (static_cast<double>(cells.size()) - 1);
    const double all = width_of(cells) - gaps;
    double x = box.x;
    for (const KvCell& cell : cells) {
      const Box at{x, box.y, (box.width - gaps) * cell.width / all, box.height};
      x = at.right() + cell_gap;
      const Paint inside = cell.stored ? accent_paint() : Paint{figure_.background};
      add(RectMark{at, inside, cell.stored ? std::nullopt : std::optional(accent_paint()), 1, 2});
      if (at.width + 0.5 < cell.width) continue;
      add_fitted(figure_, {at.x + at.width / 2, at.y + at.height / 2 + 4}, cell.letters, TextRole::number_small,
                 cell.stored ? Paint{figure_.background} : accent_paint(), Anchor::middle, at.width, layout_);
    }
  }

  void paint_selected(size_t index, int64_t head) {
    const int64_t layer = plan_.rows()[index].first;
    const Point query{plan_.query_x(layer, head), plan_.query_y(index)};
    const int64_t kv_head = head / plan_.group_size(layer);
    const Point kv{plan_.kv_x(layer, kv_head), plan_.reads_other(layer) ? plan_.kv_y(index) : kv_box(index, kv_head).y};
    add(LineMark{query, kv, accent_paint(), 2});
    const double ring = dot_ + std::clamp(plan_.pitch() - dot_, 2.0, 5.0);
    add(RectMark{disc(query.x, query.y, dot_), accent_paint(), {}, 0, dot_ / 2});
    add(RectMark{disc(query.x, query.y, ring), {}, Paint{ColourRole::selection}, 1.5, ring / 2});
    if (!plan_.reads_other(layer)) {
      add(RectMark{kv_box(index, kv_head).grown(2), {}, Paint{ColourRole::selection}, 1.5, 3});
    }
  }

  /// The part of the lanes that ends in this row: a rail under a reader's heads up to its owner, an arrow there.
  void paint_lanes(size_t index) {
    for (const SharingPlan::Lane& lane : plan_.lanes()) {
      if (std::find(lane.readers.begin(), lane.readers.end(), index) == lane.readers.end()) continue;
      const int64_t layer = plan_.rows()[index].first;
      const double x = std::round(plan_.lane_x(lane)), top = plan_.kv_y(lane.owner), y = plan_.kv_y(index);
      const double end = plan_.kv_x(layer, plan_.shown_kv_heads(layer) - 1);
      add(RectMark{{x, y, end - x + 1, 1}, accent_paint(), {}});
      if (index != lane.readers.back()) continue;
      add(RectMark{{x, top, 1, y - top}, accent_paint(), {}});
      const double tip = plan_.dots_x() - 1;
      add(RectMark{{x, top, std::max(1.0, tip - 4 - x), 1}, accent_paint(), {}});
      add(PolygonMark{{{tip - 5, top - 3}, {tip, top + 0.5}, {tip - 5, top + 4}}, accent_paint()});
    }
  }

  void add_regions(size_t index, int64_t kv) {
    const int64_t layer = layer_of(plan_.rows()[index]), group = plan_.group_size(layer);
    const double y = plan_.row_y(index), height = plan_.row_pitch(), half = plan_.pitch() / 2;
    const int64_t step = plan_.heads_apart() ? 1 : group;
    for (int64_t q = kv * group; q < (kv + 1) * group; q += step) {
      const double x0 = plan_.query_x(layer, q) - half, x1 = plan_.query_x(layer, q + step - 1) + half;
      Primitive* region = add(RectMark{{x0, y, x1 - x0, height}, {}, {}});
      if (region != nullptr) region->hit = HitRegion{fmt::format("sharing/{}/{}", layer, q), tooltip(layer, q)};
    }
  }

  std::string tooltip(int64_t layer, int64_t head) const {
    const KvStore& store = data_.architecture->store_of(layer);
    const int64_t group = plan_.group_size(layer), kv = head / group, first = kv * group;
    std::string out = fmt::format("layer {}, head {}\nreads {}", layer, head,
                                  store.stored == Stored::latent ? "the latent" : fmt::format("KV head {}", kv));
    if (plan_.reads_other(layer)) out += fmt::format(" of layer {}", store.layer);
    if (group > 1) out += fmt::format("\nshared by heads {}-{}", first, first + group - 1);
    const Layer& reader = data_.architecture->layers[static_cast<size_t>(layer)];
    if (reader.window > 0) out += fmt::format("\nsees the {} tokens", window_text(reader));
    return out;
  }

  /// At the right end of a row: how many tokens its queries see, beside a strip of all tokens with that part filled.
  /// Of several windows the longest fills half of it.
  void paint_window(size_t index) {
    if (plan_.windows_width() == 0) return;
    const Layer& layer = data_.architecture->layers[static_cast<size_t>(layer_of(plan_.rows()[index]))];
    const double right = layout_.width - SharingPlan::margin, middle = plan_.query_y(index) + plan_.row_pitch() / 2 - 7;
    add_fitted(figure_, {right, middle + 4}, window_text(layer), TextRole::number_small, {ColourRole::dim}, Anchor::end,
               plan_.windows_width(), layout_);
    if (plan_.windows_drawn()) paint_window_sign({right - plan_.windows_width() + 10, middle - 4}, layer.window);
  }

  int64_t longest_window() const {
    int64_t longest = 1;
    for (const Layer& layer : data_.architecture->layers) longest = std::max(longest, layer.window);
    return longest;
  }

  void paint_window_sign(Point at, int64_t window) {
    const double longest = static_cast<double>(longest_window());
    const double part = window == 0 ? 1 : 0.5 * static_cast<double>(window) / longest;
    const Box strip{at.x, at.y, window_sign_width, 8};
    const double filled = std::max(2.0, std::round(part * strip.width));
    add(RectMark{strip, {}, Paint{ColourRole::dim}, 1, 1});
    add(RectMark{{strip.right() - filled, strip.y, filled, strip.height}, Paint{ColourRole::dim}, {}, 0, 1});
  }

  /// What the signs are, in their own colours: the theme decides whether a query head is white.
  void paint_key(double y) {
    using Sign = SharingKeyItem::Sign;
    for (const std::vector<SharingKeyItem>& line : plan_.key()) {
      double x = SharingPlan::margin;
      for (const SharingKeyItem& item : line) {
        if (x + item.width() > layout_.width || y + SharingPlan::line_height > layout_.height) return;
        const double drawn = item.sign == Sign::query_head ? 8
                             : item.sign == Sign::window   ? window_sign_width
                                                           : width_of(item.cells);
        if (item.sign == Sign::query_head) add(RectMark{disc(x + 4, y + 9, 8), Paint{ColourRole::text}, {}, 0, 4});
        if (item.sign == Sign::cells) paint_cells({x, y + 2, drawn, 13}, item.cells);
        if (item.sign == Sign::window) paint_window_sign({x, y + 5}, longest_window());
        words({x + drawn + 5, y + 13}, item.text, item.width() - drawn - 5);
        x += item.width();
      }
      y += SharingPlan::line_height;
    }
  }

  void add_table() {
    struct Rows {
      std::shared_ptr<const Architecture> architecture;
      std::vector<size_t> begin;  ///< of each layer

      Table::Value at(size_t row, int64_t (*value)(const Architecture&, int64_t layer, int64_t head)) const {
        const auto layer = std::upper_bound(begin.begin(), begin.end(), row) - begin.begin() - 1;
        return value(*architecture, layer, static_cast<int64_t>(row - begin[static_cast<size_t>(layer)]));
      }
    };
    auto rows = std::make_shared<Rows>(Rows{data_.architecture, {}});
    for (const Layer& layer : data_.architecture->layers) {
      rows->begin.push_back(figure_.table.rows);
      figure_.table.rows += static_cast<size_t>(layer.q_heads);
    }
    const auto column = [&](std::string name, int64_t (*value)(const Architecture&, int64_t, int64_t)) {
      figure_.table.columns.push_back(
          {std::move(name), "", [rows, value](size_t row) { return rows->at(row, value); }});
    };
    column("layer", [](const Architecture&, int64_t layer, int64_t) { return layer; });
    column("head", [](const Architecture&, int64_t, int64_t head) { return head; });
    column("kv_head", [](const Architecture& a, int64_t layer, int64_t head) {
      return head / (a.layers[static_cast<size_t>(layer)].q_heads / a.store_of(layer).kv_heads);
    });
    column("kv_owner", [](const Architecture& a, int64_t layer, int64_t) { return a.store_of(layer).layer; });
    column("window",
           [](const Architecture& a, int64_t layer, int64_t) { return a.layers[static_cast<size_t>(layer)].window; });
  }

  const SharingData& data_;
  const Selection& selection_;
  const Layout& layout_;
  const SharingPlan plan_;
  const double dot_;  ///< diameter of a query head
  Figure figure_;
};

void check_sharing(const Architecture& a) {
  for (int64_t l = 0; l < a.layer_count(); ++l) {
    const int64_t q = a.layers[static_cast<size_t>(l)].q_heads, kv = a.store_of(l).kv_heads;
    if (q > 0 && kv > 0 && q % kv == 0) continue;
    fail("layer {} has {} query heads and reads {} KV heads, which do not fit together.", l, q, kv);
  }
}

}  // namespace

Figure sharing(const SharingData& data, const Selection& selection, const Layout& layout) {
  check_sharing(*data.architecture);
  return SharingPainter(data, selection, layout).paint();
}

double sharing_height(const SharingData& data, double width, double most) {
  check_sharing(*data.architecture);
  return std::min(most, SharingPlan(*data.architecture, width, most).height());
}

}  // namespace headscope
