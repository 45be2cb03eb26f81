#include "core/views/atlas.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/views/atlas_plan.h"
#include "core/views/atlas_reading.h"
#include "core/views/plot/legend.h"
#include "core/views/plot/ticks.h"
#include "core/views/state_json.h"

namespace headscope {
namespace {

constexpr std::array<std::string_view, 4> metric_names{"entropy", "distance", "sink", "max"};
constexpr std::string_view atlas_title = "Where every head looks";
constexpr double means_width = 144;    ///< px for the layers' means beside the grid
constexpr double notable_width = 296;  ///< px for the list of heads that stand out
constexpr double lane_width = 8;

class AtlasPainter {
 public:
  AtlasPainter(const AtlasData& data, const AtlasState& state, const Selection& selection, const Layout& layout,
               PooledGrids& grids)
      : data_(data),
        grids_(grids),
        metric_(state.metric),
        selection_(selection),
        layout_(layout),
        figure_(begin_figure(std::string(atlas_title), atlas_sentence(data, state.metric), data.facts, layout, body_)),
        plan_(data, state, layout, body_.width, body_.height - legend_height - 16),
        left_(body_.x + plan_.gutter()) {}

  Figure paint() {
    if (plan_.first_layer() < plan_.end_layer() && plan_.end_head(plan_.first_layer()) > plan_.first_head()) {
      find_scale();
      figure_.primitives.reserve(256 +
                                 4 * data_.layers.size() * static_cast<size_t>(plan_.end_head(plan_.first_layer())));
      const double bottom = paint_grid();
      paint_margin(bottom);
      paint_legend({body_.x, bottom + 16});
    }
    figure_.table = atlas_table(data_);
    return std::move(figure_);
  }

 private:
  const AtlasLayer& layer(int64_t l) const { return data_.layers[static_cast<size_t>(l)]; }
  double row_y(int64_t l) const { return row_y_[static_cast<size_t>(l - plan_.first_layer())]; }
  Paint accent_paint() const { return {accent(data_.facts.slot)}; }

  void text(Point at, std::string_view what, TextRole role, Paint paint, Anchor anchor = Anchor::start,
            double width = 1e9) {
    add_fitted(figure_, at, what, role, paint, anchor, width, layout_);
  }

  /// Returns where the grid ends.
  double paint_grid() {
    double y = body_.y;
    for (int64_t l = plan_.first_layer(); l < plan_.end_layer(); ++l) {
      if (plan_.has_header(l)) {
        if (l > plan_.first_layer()) y += AtlasPlan::header_gap;
        paint_header(l, y);
        y += AtlasPlan::header_height;
      }
      row_y_.push_back(y);
      paint_layer_label(l);
      for (int64_t h = plan_.first_head(); h < plan_.end_head(l); ++h) {
        paint_head({l, h}, {left_ + plan_.head_x(l, h), y, plan_.cell(), plan_.cell()});
      }
      y += plan_.row_pitch();
    }
    paint_lanes();
    paint_selection();
    y -= plan_.has_captions() ? 8 : plan_.gap();
    const std::string note = plan_.scroll_note();
    if (note.empty()) return y;
    text({padding, y + 16}, note, TextRole::caption, {ColourRole::warning}, Anchor::start, body_.width);
    return y + AtlasPlan::note_height;
  }

  /// Brackets with the KV heads' numbers, and the query heads' numbers below.
  void paint_header(int64_t l, double y) {
    const int64_t end = plan_.end_head(l), group = plan_.group_size(l);
    Labels kv_labels, head_labels;
    const bool latent = data_.layers[static_cast<size_t>(l)].latent;
    bool numbers_only = false;
    for (int64_t kv = plan_.first_head() / group; kv * group < end; ++kv) {
      const double x0 = left_ + plan_.head_x(l, std::max(plan_.first_head(), kv * group));
      const double x1 = left_ + plan_.head_x(l, std::min(end, (kv + 1) * group) - 1) + plan_.cell();
      figure_.add(RectMark{{x0, y + 15, x1 - x0, 2}, accent_paint(), {}},
                  {fmt::format("atlas/kv/{}/{}", l, kv),
                   fmt::format("{}, read by {} query head{}", latent ? "the latent" : fmt::format("KV head {}", kv),
                               group, group == 1 ? "" : "s")});
      const std::string full = latent ? "latent" : fmt::format("KV {}", kv);
      const bool fits = layout_.text.width(full, TextRole::number_small) <= x1 - x0;
      add_label(kv_labels, fits ? full : fmt::format("{}", kv), (x0 + x1) / 2);
      numbers_only |= !fits;
    }
    if (numbers_only) {
      text({padding + plan_.label_width(), y + 11}, "KV", TextRole::number_small, accent_paint(), Anchor::end);
    }
    for (int64_t h = plan_.first_head(); h < end; ++h) {
      add_label(head_labels, fmt::format("{}", h), left_ + plan_.head_x(l, h) + plan_.cell() / 2);
    }
    paint_labels(kv_labels, y + 11, accent_paint());
    paint_labels(head_labels, y + 30, {ColourRole::dim});
  }

  struct Labels {
    std::vector<std::string> texts;
    std::vector<double> centres, widths;
  };

  void add_label(Labels& labels, std::string label, double centre) const {
    labels.widths.push_back(layout_.text.width(label, TextRole::number_small));
    labels.centres.push_back(centre);
    labels.texts.push_back(std::move(label));
  }

  void paint_labels(const Labels& labels, double baseline, Paint paint) {
    for (const size_t i : thinned(labels.centres, labels.widths, 4)) {
      text({labels.centres[i], baseline}, labels.texts[i], TextRole::number_small, paint, Anchor::middle);
    }
  }

  void paint_layer_label(int64_t l) {
    const bool two_lines = !plan_.one_line_labels() && plan_.reads_other(l);
    const double x = padding + plan_.label_width(),
                 baseline = row_y(l) + std::floor(plan_.cell() / 2) + 4 - (two_lines ? 8 : 0);
    text({x, baseline}, plan_.layer_label(l), TextRole::caption, {ColourRole::dim}, Anchor::end);
    if (two_lines) text({x, baseline + 16}, plan_.owner_label(l), TextRole::caption, accent_paint(), Anchor::end);
  }

  void paint_head(HeadId id, const Box& box) {
    const AtlasHead& head = layer(id.layer).heads[static_cast<size_t>(id.head)];
    const double value = metric_value(head, metric_);
    HitRegion hit{fmt::format("atlas/{}/{}", id.layer, id.head), head_tooltip(data_, id)};
    // The ramp's low end is close to the panel's colour, in the light theme equal to it.
    figure_.add(RectMark{box.grown(1), {}, Paint{ColourRole::line, 0.5}});
    if (!plan_.shows_maps()) {
      figure_.add(ImageMark{box, Grid::of(1, 1, {static_cast<float>(value)}), scale_}, std::move(hit));
    } else if (head.map.empty()) {
      figure_.add(RectMark{box, Paint{ColourRole::raised}, {}}, std::move(hit));
    } else {
      figure_.add(ImageMark{box, cells_of(head).grid, scale_}, std::move(hit));
    }
    if (head.off) paint_off(box);
    if (!plan_.has_captions()) return;
    const std::string number = metric_number(value, metric_), full = fmt::format("{} {}", number, metric_unit(metric_));
    const bool fits = !metric_unit(metric_).empty() && layout_.text.width(full, TextRole::number_small) <= box.width;
    text({box.right(), box.bottom() + 13}, fits ? full : number, TextRole::number_small, {ColourRole::dim}, Anchor::end,
         box.width);
  }

  /// Crossed out, as the head's output is zeroed.
  void paint_off(const Box& box) {
    const Paint paint{ColourRole::warning};
    figure_.add(LineMark{{box.x, box.y}, {box.right(), box.bottom()}, paint, 1.5});
    figure_.add(LineMark{{box.right(), box.y}, {box.x, box.bottom()}, paint, 1.5});
  }

  /// The head's map with no more cells than pixels.
  const PooledGrids::Entry& cells_of(const AtlasHead& head) const {
    return grids_.max(head.map, pool_factor(std::max(head.map.rows, head.map.cols), plan_.cell() * layout_.scale));
  }

  /// A line from each owner down to its readers, an arrow into the owner's row.
  void paint_lanes() {
    const auto centre = [&](int64_t l) { return row_y(l) + std::floor(plan_.cell() / 2); };
    const Paint paint = accent_paint();
    for (const AtlasPlan::Lane& lane : plan_.lanes()) {
      const double x = left_ - 10 - lane_width * static_cast<double>(lane.place);
      const int64_t from = std::max(lane.owner, plan_.first_layer()),
                    to = std::min(lane.last_reader, plan_.end_layer() - 1);
      if (from > to) continue;
      figure_.add(RectMark{{x, centre(from), 1, centre(to) - centre(from) + 1}, paint, {}});
      for (int64_t l = from; l <= to; ++l) {
        const bool owner = l == lane.owner;
        if (!owner && layer(l).kv_owner != lane.owner) continue;
        figure_.add(RectMark{{x, centre(l), 5, 1}, paint, {}});
        if (owner)
          figure_.add(PolygonMark{{{x + 4, centre(l) - 3}, {x + 8, centre(l) + 0.5}, {x + 4, centre(l) + 4}}, paint});
      }
    }
  }

  void paint_selection() {
    if (!selection_.layer || !selection_.head || !plan_.shows(*selection_.layer, *selection_.head)) return;
    const double x = left_ + plan_.head_x(*selection_.layer, *selection_.head);
    const Box cell{x, row_y(*selection_.layer), plan_.cell(), plan_.cell()};
    figure_.add(RectMark{cell.grown(plan_.gap() < 4 ? 2 : 3), {}, Paint{ColourRole::selection}, 2});
  }

  // --- right of the grid, where there is room ---------------------------------------------------------------

  void paint_margin(double bottom) {
    const double right = body_.right() - (body_.x + plan_.width());
    if (right < means_width) return;
    paint_means(body_.x + plan_.width() + 16);
    const double x = body_.x + plan_.width() + means_width + 16;
    const bool choice = data_.layers.size() > 1 || data_.layers.front().heads.size() > 1;
    if (choice && right >= means_width + notable_width)
      paint_notable({x, body_.y, notable_width - 16, bottom - body_.y});
  }

  /// The mean of each layer's heads, as a bar beside its row.
  void paint_means(double x) {
    constexpr double longest = 72;
    double most = 0;
    for (const AtlasLayer& l : data_.layers) most = std::fmax(most, layer_mean(l, metric_));
    text({x, body_.y + 12}, "mean of layer", TextRole::caption, {ColourRole::dim});
    text({x, body_.y + 30}, metric_heading(metric_), TextRole::caption, {ColourRole::dim});
    for (int64_t l = plan_.first_layer(); l < plan_.end_layer(); ++l) {
      const double mean = layer_mean(layer(l), metric_), y = row_y(l) + std::floor(plan_.cell() / 2);
      figure_.add(RectMark{{x, y - 4, longest, 8}, Paint{ColourRole::raised}, {}});
      if (mean > 0)
        figure_.add(RectMark{{x, y - 4, longest * mean / most, 8}, Paint{accent(data_.facts.slot), 0.7}, {}});
      text({x + means_width - 32, y + 4}, metric_number(mean, metric_), TextRole::number_small, {ColourRole::dim},
           Anchor::end);
    }
  }

  /// The head that leads in each metric, as many as have room.
  void paint_notable(const Box& room) {
    static constexpr std::array<std::pair<std::string_view, HeadMetric>, 4> list{
        std::pair{"looks back furthest", HeadMetric::distance}, std::pair{"spreads widest", HeadMetric::entropy},
        std::pair{"most decided", HeadMetric::max}, std::pair{"most on the first token", HeadMetric::sink}};
    double y = room.y;
    const double right = room.right();
    for (const auto& [name, metric] : list) {
      const auto best = largest_head(data_, metric);
      if (!best || y + 68 > room.bottom()) continue;
      if (y == room.y) {
        text({room.x, y + 14}, "Heads that stand out", TextRole::label, {ColourRole::text});
        y += 28;
      }
      const double value = metric_value(layer(best->layer).heads[static_cast<size_t>(best->head)], metric);
      const std::string head = fmt::format("layer {}, head {}", best->layer, best->head);
      const std::string unit = metric_unit(metric).empty() ? "" : fmt::format(" {}", metric_unit(metric));
      const double head_width = layout_.text.width(head, TextRole::text);
      text({room.x, y + 14}, name, TextRole::text, {ColourRole::dim}, Anchor::start, room.width - head_width - 8);
      text({right, y + 14}, head, TextRole::text, {ColourRole::text}, Anchor::end, room.width);
      text({right, y + 32}, metric_number(value, metric) + unit, TextRole::number, {ColourRole::dim}, Anchor::end);
      y += 48;
    }
  }

  // --- colour ------------------------------------------------------------------------------------------------

  /// One scale for all heads: weights on a log scale, or the metric's range where cells show the metric.
  void find_scale() {
    double lo = INFINITY, hi = -INFINITY;
    for (const AtlasLayer& l : data_.layers) {
      for (const AtlasHead& head : l.heads) {
        const double value = metric_value(head, metric_);
        if (std::isfinite(value)) lo = std::min(lo, value), hi = std::max(hi, value);
        if (!plan_.shows_maps()) {
          invalid_ += !std::isfinite(value);
        } else if (!head.map.empty()) {
          invalid_ += cells_of(head).invalid;
        }
      }
    }
    if (!(lo < hi)) lo = 0, hi = std::isfinite(hi) && hi > 0 ? hi : 1;
    scale_ = plan_.shows_maps() ? ColourScale{Ramp::attention, map_floor(data_.facts.tokens), 1, true}
                                : ColourScale{Ramp::attention, lo, hi, false};
  }

  void paint_legend(Point at) {
    LegendText words;
    const std::string unit = metric_unit(metric_).empty() ? "" : fmt::format(", {}", metric_unit(metric_));
    if (plan_.shows_maps()) {
      const int64_t factor = pool_factor(plan_.map_cells(), plan_.cell() * layout_.scale);
      words.first = fmt::format("attention weight, {}, the same for all heads", scale_text(scale_));
      words.second = pooling_text(data_.bin * factor, false);
      if (plan_.has_captions()) words.second += fmt::format("; below each map: {}{}", metric_text(metric_), unit);
    } else {
      words.first = fmt::format("{}{}, {}", metric_text(metric_), unit, scale_text(scale_));
      words.second = "one cell a head; a larger figure shows the maps";
    }
    words.second += invalid_text(invalid_);
    add_legend(figure_, at, body_.width, scale_, words, invalid_ > 0, false, layout_);
  }

  const AtlasData& data_;
  PooledGrids& grids_;
  const HeadMetric metric_;
  const Selection& selection_;
  const Layout& layout_;
  Box body_;  ///< filled by begin_figure, so it comes before what is made from it
  Figure figure_;
  AtlasPlan plan_;
  double left_;                ///< of the first visible head
  std::vector<double> row_y_;  ///< top of each visible row of cells
  ColourScale scale_;
  int64_t invalid_ = 0;  ///< values that are not numbers
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

Figure atlas(const AtlasData& data, const AtlasState& state, const Selection& selection, const Layout& layout,
             PooledGrids* kept) {
  if (data.layers.empty() || data.facts.tokens <= 0) {
    return empty_figure(std::string(atlas_title),
                        "Shows every head's attention map at once, grouped by the KV head it reads.", data.facts,
                        layout);
  }
  check_atlas(data);
  PooledGrids once;
  PooledGrids& grids = kept != nullptr ? *kept : once;
  Figure figure = AtlasPainter(data, state, selection, layout, grids).paint();
  grids.sweep();
  return figure;
}

}  // namespace headscope
