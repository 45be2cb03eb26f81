#include "core/views/atlas.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "core/base/error.h"
#include "core/views/plot/legend.h"
#include "core/views/plot/pool.h"
#include "core/views/plot/ticks.h"
#include "core/views/state_json.h"

namespace headscope {
namespace {

constexpr std::array<std::string_view, 4> metric_names{"entropy", "distance", "sink", "max"};
constexpr double smallest_cell = 16, largest_cell = 96;
constexpr double smallest_map = 24;      ///< below it a cell shows the metric as colour
constexpr double smallest_caption = 64;  ///< from it on the metric is written below
constexpr double header_height = 36;     ///< KV label, bracket, head numbers
constexpr double lane_width = 8;         ///< of a line from readers to their cache's owner
constexpr std::string_view atlas_title = "Where every head looks";

double metric_value(const AtlasHead& head, HeadMetric metric) {
  switch (metric) {
    case HeadMetric::entropy:
      return head.entropy_nats;
    case HeadMetric::distance:
      return head.distance_tokens;
    case HeadMetric::sink:
      return head.sink;
    case HeadMetric::max:
      return head.max;
  }
  return NAN;
}

std::string_view metric_unit(HeadMetric metric) {
  return metric == HeadMetric::entropy ? "nats" : metric == HeadMetric::distance ? "tokens" : "";
}

std::string_view metric_text(HeadMetric metric) {
  switch (metric) {
    case HeadMetric::entropy:
      return "mean entropy";
    case HeadMetric::distance:
      return "mean distance";
    case HeadMetric::sink:
      return "mean weight on the first token";
    case HeadMetric::max:
      return "mean largest weight";
  }
  return "";
}

std::string metric_number(double value, HeadMetric metric) {
  if (!std::isfinite(value)) return "NaN";
  return fmt::format("{:.{}f}", value, metric == HeadMetric::distance ? 1 : 2);
}

void check(const AtlasData& data) {
  if (data.bin < 1) fail("the atlas was given cells of {} tokens; at least 1 is needed.", data.bin);
  for (size_t l = 0; l < data.layers.size(); ++l) {
    const AtlasLayer& layer = data.layers[l];
    const bool divides = layer.q_heads > 0 && layer.kv_heads > 0 && layer.q_heads % layer.kv_heads == 0;
    if (!divides || static_cast<int64_t>(layer.heads.size()) != layer.q_heads) {
      fail("layer {} of the atlas has {} query heads, {} KV heads and numbers of {} heads, which do not fit together.",
           l, layer.q_heads, layer.kv_heads, layer.heads.size());
    }
    if (layer.kv_owner < 0 || layer.kv_owner > static_cast<int64_t>(l)) {
      fail("layer {} of the atlas reads the cache of layer {}, which does not come before it.", l, layer.kv_owner);
    }
  }
}

struct HeadId {
  size_t layer = 0, head = 0;
};

/// The head with the largest value; nothing when no value is finite.
std::optional<HeadId> largest(const AtlasData& data, HeadMetric metric) {
  std::optional<HeadId> best;
  double most = 0;
  for (size_t l = 0; l < data.layers.size(); ++l) {
    for (size_t h = 0; h < data.layers[l].heads.size(); ++h) {
      const double value = metric_value(data.layers[l].heads[h], metric);
      if (std::isfinite(value) && (!best || value > most)) best = {l, h}, most = value;
    }
  }
  return best;
}

/// "5 layers x 8 query heads, in pairs that read the same KV head."
std::string shape_sentence(const AtlasData& data) {
  const auto& layers = data.layers;
  const auto plural = [](int64_t n) { return n == 1 ? "" : "s"; };
  const auto count = static_cast<int64_t>(layers.size());
  bool even = true;
  int64_t heads = 0, readers = 0;
  for (size_t l = 0; l < layers.size(); ++l) {
    even &= layers[l].q_heads == layers[0].q_heads && layers[l].kv_heads == layers[0].kv_heads;
    heads += layers[l].q_heads;
    readers += layers[l].kv_owner != static_cast<int64_t>(l);
  }
  std::string out = fmt::format("{} layer{}", count, plural(count));
  if (even) {
    const int64_t q = layers[0].q_heads, group = q / layers[0].kv_heads;
    out += fmt::format(" x {} query head{}, ", q, plural(q));
    if (group == 1) {
      out += "each with its own KV head";
    } else if (layers[0].kv_heads == 1) {
      out += "all reading the one KV head of their layer";
    } else if (group == 2) {
      out += "in pairs that read the same KV head";
    } else {
      out += fmt::format("in groups of {} that read the same KV head", group);
    }
  } else {
    out += fmt::format(", {} query heads, grouped differently from layer to layer", heads);
  }
  if (readers > 0)
    out += fmt::format("; {} layer{} read{} another layer's cache", readers, plural(readers), readers == 1 ? "s" : "");
  return out + ".";
}

std::string finding(const AtlasData& data, HeadMetric metric) {
  // How far a head looks says more than how wide, so entropy and distance share a sentence.
  const HeadMetric asked = metric == HeadMetric::entropy ? HeadMetric::distance : metric;
  const auto best = largest(data, asked);
  if (!best) return "";
  const std::string head = fmt::format(" Layer {}, head {}", best->layer, best->head);
  const std::string value = metric_number(metric_value(data.layers[best->layer].heads[best->head], asked), asked);
  if (asked == HeadMetric::distance) return fmt::format("{} looks back furthest: {} tokens on average.", head, value);
  if (asked == HeadMetric::sink) return fmt::format("{} rests most on the first token: {} of its weight.", head, value);
  return fmt::format("{} is the most decided: largest weight {} on average.", head, value);
}

/// Where everything goes. Heads [first_head, first_head + heads) of layers [first_layer, first_layer + layers).
struct Plan {
  double cell = smallest_cell;
  double gap = 2, group_gap = 2, row_pitch = 0;
  double gutter = 0;       ///< px left of the first cell
  double label_width = 0;  ///< of the layers' names within the gutter
  int64_t first_layer = 0, layers = 0, first_head = 0, heads = 0;
  bool captions() const { return cell >= smallest_caption; }
};

class AtlasPainter {
 public:
  AtlasPainter(const AtlasData& data, const AtlasState& state, const Selection& selection, const Layout& layout)
      : data_(data), state_(state), selection_(selection), layout_(layout) {}

  Figure paint() {
    Box body;
    Figure figure = begin_figure(std::string(atlas_title), shape_sentence(data_) + finding(data_, state_.metric),
                                 data_.facts, layout_, body);
    find_lanes();
    make_plan({body.x, body.y, body.width, body.height - legend_height - 16});
    if (plan_.layers > 0 && plan_.heads > 0) {
      const double bottom = paint_grid(figure, body.x + plan_.gutter, body.y);
      paint_legend(figure, {body.x, bottom + 16}, body.width);
    }
    figure.table = table();
    return figure;
  }

 private:
  const AtlasLayer& layer(int64_t l) const { return data_.layers[static_cast<size_t>(l)]; }
  int64_t layer_count() const { return static_cast<int64_t>(data_.layers.size()); }
  bool reads_other(int64_t l) const { return layer(l).kv_owner != l; }

  // --- plan -------------------------------------------------------------------------------------------------

  /// Each owner with readers gets a line beside the rows; lines that would overlap lie side by side.
  void find_lanes() {
    std::vector<int64_t> last_reader(data_.layers.size(), -1);
    for (int64_t l = 0; l < layer_count(); ++l) {
      if (reads_other(l)) last_reader[static_cast<size_t>(layer(l).kv_owner)] = l;
    }
    std::vector<int64_t> free_from;
    for (int64_t owner = 0; owner < layer_count(); ++owner) {
      const int64_t last = last_reader[static_cast<size_t>(owner)];
      if (last < 0) continue;
      size_t lane = 0;
      while (lane < free_from.size() && free_from[lane] > owner) ++lane;
      if (lane == free_from.size()) free_from.push_back(0);
      free_from[lane] = last + 1;
      lanes_.push_back({owner, last, lane});
    }
    lane_count_ = free_from.size();
  }

  std::string layer_label(int64_t l, bool one_line) const {
    if (!one_line || !reads_other(l)) return fmt::format("layer {}", l);
    return fmt::format("layer {} reads {}", l, layer(l).kv_owner);
  }

  void set_cell(double cell) {
    plan_.cell = cell;
    plan_.gap = cell < 32 ? 2 : 6;
    plan_.group_gap = cell < 32 ? 6 : 14;
    plan_.row_pitch = cell + (plan_.captions() ? 24 : plan_.gap);
    plan_.label_width = 0;
    for (int64_t l = 0; l < layer_count(); ++l) {
      plan_.label_width = std::max(plan_.label_width, layout_.text.width(layer_label(l, cell < 32), TextRole::caption));
      if (cell >= 32 && reads_other(l)) {
        plan_.label_width = std::max(plan_.label_width, layout_.text.width(owner_label(l), TextRole::caption));
      }
    }
    plan_.gutter = std::ceil((plan_.label_width + 12 + lane_width * static_cast<double>(lane_count_)) / 4) * 4;
  }

  std::string owner_label(int64_t l) const { return fmt::format("reads layer {}", layer(l).kv_owner); }

  int64_t group_size(int64_t l) const { return layer(l).q_heads / layer(l).kv_heads; }

  /// Left edge of a head's cell, from the first visible head's.
  double head_x(int64_t l, int64_t head) const {
    const int64_t group = group_size(l);
    const double groups = group == 1 ? 0 : static_cast<double>(head / group - plan_.first_head / group);
    return static_cast<double>(head - plan_.first_head) * (plan_.cell + plan_.gap) +
           groups * (plan_.group_gap - plan_.gap);
  }

  int64_t most_heads() const {
    int64_t most = 0;
    for (const AtlasLayer& l : data_.layers) most = std::max(most, l.q_heads);
    return most;
  }

  double grid_width(int64_t heads) const {
    double width = 0;
    for (int64_t l = 0; l < layer_count(); ++l) {
      const int64_t last = std::min(layer(l).q_heads, plan_.first_head + heads) - 1;
      if (last >= plan_.first_head) width = std::max(width, head_x(l, last) + plan_.cell);
    }
    return width;
  }

  /// Whether the row of `l` needs a header above it: the first one, and any that is grouped unlike the one before.
  bool has_header(int64_t l) const {
    return l == plan_.first_layer || layer(l).q_heads != layer(l - 1).q_heads ||
           layer(l).kv_heads != layer(l - 1).kv_heads;
  }

  double grid_height(int64_t layers) const {
    double height = 0;
    for (int64_t l = plan_.first_layer; l < plan_.first_layer + layers; ++l) {
      height += plan_.row_pitch + (has_header(l) ? header_height + (l > plan_.first_layer ? 8 : 0) : 0);
    }
    return height - (layers > 0 && !plan_.captions() ? plan_.gap : 0);
  }

  void make_plan(const Box& room) {
    plan_.layers = layer_count();
    plan_.heads = most_heads();
    for (double cell = largest_cell; cell >= smallest_cell; --cell) {
      set_cell(cell);
      if (plan_.gutter + grid_width(plan_.heads) <= room.width && grid_height(plan_.layers) <= room.height) return;
    }
    // Not all fit: the largest run from the scroll position, moved back where there is room to spare.
    const auto longest = [](int64_t& first, int64_t all, int64_t wanted, const auto& fits) {
      first = std::clamp<int64_t>(wanted, 0, all - 1);
      int64_t count = 0;
      while (first + count < all && fits(count + 1)) ++count;
      while (first > 0 && first + count == all) {
        --first;
        if (!fits(count + 1)) {
          ++first;
          break;
        }
        ++count;
      }
      return count;
    };
    plan_.heads = longest(plan_.first_head, most_heads(), state_.first_head,
                          [&](int64_t n) { return plan_.gutter + grid_width(n) <= room.width; });
    const double note = 20;
    plan_.layers = longest(plan_.first_layer, layer_count(), state_.first_layer,
                           [&](int64_t n) { return grid_height(n) + note <= room.height; });
  }

  // --- drawing ----------------------------------------------------------------------------------------------

  double paint_grid(Figure& figure, double left, double top) {
    find_scale();
    double y = top;
    for (int64_t l = plan_.first_layer; l < plan_.first_layer + plan_.layers; ++l) {
      if (has_header(l)) {
        if (l > plan_.first_layer) y += 8;
        paint_header(figure, l, left, y);
        y += header_height;
      }
      row_y_.push_back(y);
      paint_layer_label(figure, l, y);
      for (int64_t h = plan_.first_head; h < std::min(layer(l).q_heads, plan_.first_head + plan_.heads); ++h) {
        paint_head(figure, l, h, {left + head_x(l, h), y, plan_.cell, plan_.cell});
      }
      y += plan_.row_pitch;
    }
    paint_lanes(figure, left);
    paint_selection(figure, left);
    y -= plan_.captions() ? 8 : plan_.gap;
    return paint_scroll_note(figure, y);
  }

  /// Brackets with the KV head's number, and the query heads' numbers below.
  void paint_header(Figure& figure, int64_t l, double left, double y) {
    const int64_t end = std::min(layer(l).q_heads, plan_.first_head + plan_.heads), group = group_size(l);
    const Paint teal{accent(data_.facts.slot)};
    std::vector<std::string> texts;
    std::vector<double> centres, extents;
    for (int64_t kv = plan_.first_head / group; kv * group < end; ++kv) {
      const double x0 = left + head_x(l, std::max(plan_.first_head, kv * group));
      const double x1 = left + head_x(l, std::min(end, (kv + 1) * group) - 1) + plan_.cell;
      figure.add(RectMark{{x0, y + 15, x1 - x0, 2}, teal, {}},
                 {fmt::format("atlas/kv/{}/{}", l, kv),
                  fmt::format("KV head {}, read by {} query head{}", kv, group, group == 1 ? "" : "s")});
      std::string text = fmt::format("KV {}", kv);
      if (layout_.text.width(text, TextRole::number_small) > x1 - x0) text = fmt::format("{}", kv);
      texts.push_back(text);
      centres.push_back((x0 + x1) / 2);
      extents.push_back(layout_.text.width(text, TextRole::number_small));
    }
    for (const size_t i : thinned(centres, extents, 4)) {
      add_fitted(figure, {centres[i], y + 11}, texts[i], TextRole::number_small, teal, Anchor::middle, 1e9, layout_);
    }
    texts.clear(), centres.clear(), extents.clear();
    for (int64_t h = plan_.first_head; h < end; ++h) {
      texts.push_back(fmt::format("{}", h));
      centres.push_back(left + head_x(l, h) + plan_.cell / 2);
      extents.push_back(layout_.text.width(texts.back(), TextRole::number_small));
    }
    for (const size_t i : thinned(centres, extents, 4)) {
      add_fitted(figure, {centres[i], y + 30}, texts[i], TextRole::number_small, {ColourRole::dim}, Anchor::middle, 1e9,
                 layout_);
    }
  }

  void paint_layer_label(Figure& figure, int64_t l, double y) {
    const bool one_line = plan_.cell < 32;
    const double x = padding + plan_.label_width;
    const double baseline = y + plan_.cell / 2 + 4 - (!one_line && reads_other(l) ? 8 : 0);
    add_fitted(figure, {x, baseline}, layer_label(l, one_line), TextRole::caption, {ColourRole::dim}, Anchor::end, 1e9,
               layout_);
    if (!one_line && reads_other(l)) {
      add_fitted(figure, {x, baseline + 16}, owner_label(l), TextRole::caption, {accent(data_.facts.slot)}, Anchor::end,
                 1e9, layout_);
    }
  }

  void paint_head(Figure& figure, int64_t l, int64_t h, const Box& box) {
    const AtlasHead& head = layer(l).heads[static_cast<size_t>(h)];
    HitRegion hit{fmt::format("atlas/{}/{}", l, h), tooltip(l, h)};
    if (plan_.cell < smallest_map) {
      const auto value = static_cast<float>(metric_value(head, state_.metric));
      figure.add(ImageMark{box, Grid::of(1, 1, {value}), scale_}, std::move(hit));
    } else if (head.map.empty()) {
      figure.add(RectMark{box, Paint{ColourRole::raised}, {}}, std::move(hit));
    } else {
      const int64_t factor = pool_factor(std::max(head.map.rows, head.map.cols), plan_.cell * layout_.scale);
      const Grid map = pooled(head.map, factor, Pooling::max, data_.facts.tokens, data_.facts.tokens, data_.bin);
      figure.add(ImageMark{box, map, scale_}, std::move(hit));
    }
    if (!plan_.captions()) return;
    const std::string value = metric_number(metric_value(head, state_.metric), state_.metric);
    std::string caption = fmt::format("{} {}", value, metric_unit(state_.metric));
    if (metric_unit(state_.metric).empty() || layout_.text.width(caption, TextRole::number_small) > box.width)
      caption = value;
    add_fitted(figure, {box.right(), box.bottom() + 12}, caption, TextRole::number_small, {ColourRole::dim},
               Anchor::end, box.width, layout_);
  }

  std::string tooltip(int64_t l, int64_t h) const {
    const AtlasHead& head = layer(l).heads[static_cast<size_t>(h)];
    std::string out = fmt::format("layer {}, head {}, reads KV head {}", l, h, h / group_size(l));
    if (reads_other(l)) out += fmt::format(" of layer {}", layer(l).kv_owner);
    for (size_t m = 0; m < metric_names.size(); ++m) {
      const auto metric = static_cast<HeadMetric>(m);
      out += fmt::format("\n{} {}{}{}", metric_text(metric), metric_number(metric_value(head, metric), metric),
                         metric_unit(metric).empty() ? "" : " ", metric_unit(metric));
    }
    return out;
  }

  /// A line from each owner down to its readers, a dot at the owner.
  void paint_lanes(Figure& figure, double left) {
    const Paint paint{accent(data_.facts.slot)};
    const auto centre = [&](int64_t l) {
      return row_y_[static_cast<size_t>(l - plan_.first_layer)] + std::floor(plan_.cell / 2);
    };
    const int64_t end = plan_.first_layer + plan_.layers;
    for (const Lane& lane : lanes_) {
      const double x = left - 10 - lane_width * static_cast<double>(lane.lane);
      const int64_t from = std::max(lane.owner, plan_.first_layer), to = std::min(lane.last_reader, end - 1);
      if (from > to) continue;
      figure.add(RectMark{{x, centre(from), 1, centre(to) - centre(from) + 1}, paint, {}});
      for (int64_t l = from; l <= to; ++l) {
        if (l != lane.owner && layer(l).kv_owner == lane.owner) figure.add(RectMark{{x, centre(l), 5, 1}, paint, {}});
      }
      if (from == lane.owner) {
        const double y = centre(from);
        figure.add(RectMark{{x, y, 5, 1}, paint, {}});
        figure.add(PolygonMark{{{x + 4, y - 3.5}, {x + 8, y + 0.5}, {x + 4, y + 4.5}}, paint});
      }
    }
  }

  void paint_selection(Figure& figure, double left) {
    if (!selection_.layer || !selection_.head) return;
    const int64_t l = *selection_.layer, h = *selection_.head;
    const bool visible = l >= plan_.first_layer && l < plan_.first_layer + plan_.layers && h >= plan_.first_head &&
                         h < std::min(layer(l).q_heads, plan_.first_head + plan_.heads);
    if (!visible) return;
    const Box cell{left + head_x(l, h), row_y_[static_cast<size_t>(l - plan_.first_layer)], plan_.cell, plan_.cell};
    figure.add(RectMark{cell.grown(plan_.cell < 32 ? 2 : 3), {}, Paint{ColourRole::selection}, 2});
  }

  double paint_scroll_note(Figure& figure, double y) {
    std::string note;
    const auto part = [&](std::string_view what, int64_t first, int64_t count, int64_t all) {
      if (count == all) return;
      note += fmt::format("{}{} {}-{} of {}", note.empty() ? "" : ", ", what, first, first + count - 1, all);
    };
    part("layers", plan_.first_layer, plan_.layers, layer_count());
    part("heads", plan_.first_head, plan_.heads, most_heads());
    if (note.empty()) return y;
    add_fitted(figure, {padding, y + 16}, note + " shown", TextRole::caption, {ColourRole::warning}, Anchor::start,
               layout_.width - 2 * padding, layout_);
    return y + 20;
  }

  /// One scale for all heads: weights on a log scale, or the metric's range where cells show the metric.
  void find_scale() {
    if (plan_.cell >= smallest_map) {
      scale_ = {Ramp::attention, map_floor(data_.facts.tokens), 1, true};
      for (const AtlasLayer& l : data_.layers) {
        for (const AtlasHead& head : l.heads) invalid_ |= has_invalid(head.map);
      }
      return;
    }
    double lo = INFINITY, hi = -INFINITY;
    for (const AtlasLayer& l : data_.layers) {
      for (const AtlasHead& head : l.heads) {
        const double value = metric_value(head, state_.metric);
        if (std::isfinite(value)) lo = std::min(lo, value), hi = std::max(hi, value);
        invalid_ |= std::isnan(value);
      }
    }
    if (!(lo < hi)) lo = 0, hi = std::max(1.0, std::isfinite(hi) ? hi : 1.0);
    scale_ = {Ramp::attention, lo, hi, false};
  }

  void paint_legend(Figure& figure, Point at, double width) {
    LegendText text;
    const std::string unit = metric_unit(state_.metric).empty() ? "" : fmt::format(", {}", metric_unit(state_.metric));
    if (plan_.cell >= smallest_map) {
      const int64_t factor = pool_factor(most_cells(), plan_.cell * layout_.scale);
      text.first = fmt::format("attention weight, {}, the same for all heads", scale_text(scale_));
      text.second = pooling_text(data_.bin * factor, false);
      if (plan_.captions()) text.second += fmt::format("; below each map: {}{}", metric_text(state_.metric), unit);
    } else {
      text.first = fmt::format("{}{}, {}", metric_text(state_.metric), unit, scale_text(scale_));
      text.second = "one cell a head; a larger figure shows the maps";
    }
    if (invalid_) text.second += "; some values are not numbers";
    add_legend(figure, at, width, scale_, text, invalid_, layout_);
  }

  int64_t most_cells() const {
    int64_t cells = 1;
    for (const AtlasLayer& l : data_.layers) {
      for (const AtlasHead& head : l.heads) cells = std::max({cells, head.map.rows, head.map.cols});
    }
    return cells;
  }

  Table table() const {
    struct Row {
      int64_t layer, head, kv_head, kv_owner;
      double metrics[4];
    };
    auto rows = std::make_shared<std::vector<Row>>();
    for (int64_t l = 0; l < layer_count(); ++l) {
      for (int64_t h = 0; h < layer(l).q_heads; ++h) {
        const AtlasHead& head = layer(l).heads[static_cast<size_t>(h)];
        rows->push_back({l,
                         h,
                         h / group_size(l),
                         layer(l).kv_owner,
                         {head.entropy_nats, head.distance_tokens, head.sink, head.max}});
      }
    }
    Table out{rows->size(), {}};
    const auto add = [&](std::string name, std::string unit, auto get) {
      out.columns.push_back(
          {std::move(name), std::move(unit), [rows, get](size_t i) -> Table::Value { return get((*rows)[i]); }});
    };
    add("layer", "", [](const Row& r) { return r.layer; });
    add("head", "", [](const Row& r) { return r.head; });
    add("kv_head", "", [](const Row& r) { return r.kv_head; });
    add("kv_owner", "", [](const Row& r) { return r.kv_owner; });
    add("entropy", "nats", [](const Row& r) { return r.metrics[0]; });
    add("distance", "tokens", [](const Row& r) { return r.metrics[1]; });
    add("sink", "", [](const Row& r) { return r.metrics[2]; });
    add("max", "", [](const Row& r) { return r.metrics[3]; });
    return out;
  }

  struct Lane {
    int64_t owner, last_reader;
    size_t lane;
  };

  const AtlasData& data_;
  const AtlasState& state_;
  const Selection& selection_;
  const Layout& layout_;
  Plan plan_;
  std::vector<Lane> lanes_;
  size_t lane_count_ = 0;
  std::vector<double> row_y_;  ///< top of each visible row of cells
  ColourScale scale_;
  bool invalid_ = false;
};

}  // namespace

Json to_json(const AtlasState& state) {
  return {{"metric", metric_names[static_cast<size_t>(state.metric)]},
          {"first_layer", state.first_layer},
          {"first_head", state.first_head}};
}

AtlasState atlas_state(const Json& json) {
  AtlasState state;
  StateReader reader(json, "atlas");
  reader.read_enum("metric", state.metric, metric_names);
  reader.read("first_layer", state.first_layer, 0);
  reader.read("first_head", state.first_head, 0);
  reader.finish();
  return state;
}

Figure atlas(const AtlasData& data, const AtlasState& state, const Selection& selection, const Layout& layout) {
  if (data.layers.empty() || data.facts.tokens <= 0) {
    return empty_figure(std::string(atlas_title),
                        "The atlas shows every head's attention map at once, grouped by the KV head it reads.",
                        data.facts.model.empty() ? "No model is open." : "Nothing has been run yet.",
                        data.facts.model.empty() ? "Open a model." : "Run a prompt.", layout);
  }
  check(data);
  return AtlasPainter(data, state, selection, layout).paint();
}

}  // namespace headscope
