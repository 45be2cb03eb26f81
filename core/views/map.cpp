#include "core/views/map.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/views/map_reading.h"
#include "core/views/plot/legend.h"
#include "core/views/plot/pool.h"
#include "core/views/plot/token_axis.h"
#include "core/views/state_json.h"

namespace headscope {
namespace {

constexpr double longest_label = 88;  ///< px of a token's text on an axis
constexpr double side_width = 216;    ///< of the column right of the map
constexpr double side_gap = 32;
constexpr double entropy_width = 72;
constexpr double title_room = 20;  ///< px of "query" and "key" beside the labels
constexpr size_t listed_cells = 6;

class MapPainter {
 public:
  MapPainter(const MapData& data, const MapState& state, const Selection& selection, const Layout& layout)
      : data_(data), state_(state), selection_(selection), layout_(layout), window_(shown_map(data, state)) {}

  Figure paint() {
    best_ = largest_cells(window_, listed_cells);
    invalid_ = count_invalid(window_.cells);
    RunFacts facts = data_.facts;
    add_remarks(facts);
    Box body;
    Figure figure = begin_figure(fmt::format("Layer {}, head {}", data_.layer, data_.head),
                                 map_sentence(data_, window_, best_, layout_.text), facts, layout_, body);
    find_scale();
    // Beside the map there is room that a square leaves; the legend goes there too, so that the map can be taller.
    const bool side = body.width >= 520 && body.height >= 160;
    const Box room{body.x, body.y, body.width - (side ? side_width + side_gap : 0),
                   body.height - (side ? 0 : legend_height + 16)};
    if (place_map(room)) {
      paint_map(figure);
      if (side) {
        paint_side(figure, map_.right() + entropy_room_ + side_gap, body);
      } else {
        add_legend(figure, {body.x, body.bottom() - legend_height}, body.width, scale_, legend_text(false),
                   invalid_ > 0, false, layout_);
      }
    }
    figure.table = map_table(data_, window_);
    return figure;
  }

 private:
  /// What the picture cannot say by itself.
  void add_remarks(RunFacts& facts) const {
    for (int64_t token = std::min(window_.row_begin, window_.key_begin);
         token < std::max(window_.row_end, window_.key_end); ++token) {
      if (token >= static_cast<int64_t>(data_.pieces.size())) break;
      if (!has_right_to_left(data_.pieces[static_cast<size_t>(token)])) continue;
      facts.notes.push_back("right-to-left text is drawn letter by letter from left to right");
      break;
    }
  }

  void find_scale() {
    if (state_.log_colour) {
      scale_ = {Ramp::attention, map_floor(data_.facts.tokens), 1, true};
      return;
    }
    const float most = best_.empty() ? 1.0f : best_.front().weight;
    scale_ = {Ramp::attention, 0, static_cast<double>(most), false};
  }

  /// Finds the largest square px a token in `room` that leaves space for the labels. False: no space at all.
  bool place_map(const Box& room) {
    const auto rows = static_cast<double>(window_.rows()), keys = static_cast<double>(window_.keys());
    const double shortest = std::min(longest_label, std::floor(std::min(room.width, room.height) * 0.25));
    entropy_room_ = !data_.row_entropy_nats.empty() && room.width > 480 ? entropy_width + 16 : 0;
    // First with the widest labels there can be, which always fits; then with the room that those labels took.
    double left = std::ceil((shortest + 8) / 4) * 4, below = left;
    bool placed = false;
    for (int pass = 0; pass < 3; ++pass) {
      double pitch =
          std::min((room.width - left - title_room - entropy_room_) / keys, (room.height - below - title_room) / rows);
      if (pitch >= 4) pitch = std::floor(pitch);
      if (!(pitch * std::max(rows, keys) >= 16)) break;
      TokenAxis queries({window_.row_begin, window_.row_end, pitch}, data_.pieces, selection_.query, shortest,
                        layout_.text);
      TokenAxis across({window_.key_begin, window_.key_end, pitch}, data_.pieces, selection_.key, shortest,
                       layout_.text);
      // A finer pitch may name more tokens and need more room than was left.
      if (queries.room() > left || across.room() > below) break;
      pitch_ = pitch;
      placed = true;
      left = std::ceil(queries.room() / 4) * 4, below = std::ceil(across.room() / 4) * 4;
      queries_ = std::move(queries), keys_ = std::move(across);
    }
    if (!placed) return false;
    left_ = std::ceil(queries_->room() / 4) * 4, below_ = std::ceil(keys_->room() / 4) * 4;
    map_ = {room.x + title_room + left_, room.y, pitch_ * keys, pitch_ * rows};
    return true;
  }

  void paint_map(Figure& figure) {
    const int64_t factor = pool_factor(std::max(window_.cells.rows, window_.cells.cols),
                                       std::max(map_.width, map_.height) * layout_.scale);
    drawn_bin_ = data_.bin * factor;
    paint_cells(figure, factor);
    queries_->draw_left(figure, map_.x, map_.y);
    keys_->draw_below(figure, map_.x, map_.bottom());
    figure.add(TextMark{
        {padding + 10, map_.y + map_.height / 2}, "query", TextRole::caption, {ColourRole::dim}, Anchor::middle, true});
    add_fitted(figure, {map_.x + map_.width / 2, map_.bottom() + below_ + 16}, "key", TextRole::caption,
               {ColourRole::dim}, Anchor::middle, map_.width, layout_);
    paint_crosshair(figure);
    if (entropy_room_ > 0) paint_entropy(figure);
  }

  /// The last cells of a pooled range may be cut, so the image covers whole cells and is given that box.
  void paint_cells(Figure& figure, int64_t factor) {
    const Grid cells = pooled(window_.cells, factor, data_.pooling, window_.rows(), window_.keys(), data_.bin);
    const double cell = pitch_ * static_cast<double>(drawn_bin_);
    const int64_t whole_rows = window_.rows() / drawn_bin_, whole_cols = window_.keys() / drawn_bin_;
    const HitRegion hit{"map/cell", map_tooltip()};
    const auto add = [&](int64_t row, int64_t col, int64_t rows, int64_t cols) {
      if (rows <= 0 || cols <= 0) return;
      const double x = map_.x + static_cast<double>(col) * cell, y = map_.y + static_cast<double>(row) * cell;
      const double right = std::min(map_.right(), x + static_cast<double>(cols) * cell);
      const double bottom = std::min(map_.bottom(), y + static_cast<double>(rows) * cell);
      figure.add(ImageMark{{x, y, right - x, bottom - y}, cells.part(row, col, rows, cols), scale_});
    };
    add(0, 0, whole_rows, whole_cols);
    add(whole_rows, 0, cells.rows - whole_rows, whole_cols);
    add(0, whole_cols, whole_rows, cells.cols - whole_cols);
    add(whole_rows, whole_cols, cells.rows - whole_rows, cells.cols - whole_cols);
    figure.add(RectMark{map_, {}, {}}, hit);
    figure.add(RectMark{map_.grown(1), {}, Paint{ColourRole::line}});
  }

  std::string map_tooltip() const {
    return fmt::format("layer {}, head {}\nqueries {} to {}, keys {} to {}\n{}", data_.layer, data_.head,
                       window_.row_begin, window_.row_end - 1, window_.key_begin, window_.key_end - 1,
                       pooling_text(data_.bin, data_.pooling == Pooling::mean));
  }

  void paint_crosshair(Figure& figure) {
    const Paint paint{ColourRole::selection, 0.8};
    const auto place = [&](const std::optional<int64_t>& token, int64_t begin, int64_t end) -> std::optional<double> {
      if (!token || *token < begin || *token >= end) return {};
      return std::floor((static_cast<double>(*token - begin) + 0.5) * pitch_);
    };
    if (const auto y = place(selection_.query, window_.row_begin, window_.row_end)) {
      figure.add(RectMark{{map_.x, map_.y + *y, map_.width, 1}, paint, {}});
    }
    if (const auto x = place(selection_.key, window_.key_begin, window_.key_end)) {
      figure.add(RectMark{{map_.x + *x, map_.y, 1, map_.height}, paint, {}});
    }
  }

  /// Entropy of each row as a bar beside it, against the most a row could have.
  void paint_entropy(Figure& figure) {
    const double x = map_.right() + 16;
    const double most = std::log(static_cast<double>(std::max<int64_t>(2, data_.facts.tokens)));
    figure.add(RectMark{{x, map_.y, entropy_width, map_.height}, Paint{ColourRole::raised, 0.5}, {}});
    // Below a pixel a row, one bar stands for the rows of a pixel and shows their mean.
    const int64_t step = std::max<int64_t>(1, static_cast<int64_t>(std::ceil(1 / pitch_)));
    const auto edge = [&](int64_t row) {
      return map_.y + std::round(static_cast<double>(row - window_.row_begin) * pitch_);
    };
    for (int64_t row = window_.row_begin; row < window_.row_end; row += step) {
      const int64_t end = std::min(window_.row_end, row + step);
      double sum = 0;
      for (int64_t i = row; i < end; ++i)
        sum += static_cast<double>(data_.row_entropy_nats[static_cast<size_t>(i - data_.row_begin)]);
      const double share = sum / static_cast<double>(end - row) / most;
      const bool valid = !std::isnan(share);
      const Box bar{x, edge(row), entropy_width * (valid ? std::clamp(share, 0.0, 1.0) : 1.0),
                    edge(end) - edge(row) - (pitch_ >= 4 ? 1 : 0)};
      if (bar.width > 0)
        figure.add(RectMark{bar, valid ? Paint{accent(data_.facts.slot), 0.7} : Paint{ColourRole::invalid}, {}});
    }
    const double labels = map_.bottom() + 14;
    figure.add(TextMark{{x, labels}, "0", TextRole::number_small, {ColourRole::dim}});
    figure.add(TextMark{{x + entropy_width, labels},
                        fmt::format("{:.1f}", most),
                        TextRole::number_small,
                        {ColourRole::dim},
                        Anchor::end});
    add_fitted(figure, {x, labels + 16}, "entropy, nats", TextRole::caption, {ColourRole::dim}, Anchor::start,
               entropy_width + 24, layout_);
  }

  /// Beside a stacked legend's ramp the range would be said twice.
  LegendText legend_text(bool stacked) const {
    const std::string scale = stacked ? state_.log_colour ? "logarithmic" : "linear" : scale_text(scale_);
    return {"attention weight, " + scale,
            pooling_text(drawn_bin_, data_.pooling == Pooling::mean) + invalid_text(invalid_)};
  }

  // --- the column right of the map --------------------------------------------------------------------------

  void paint_side(Figure& figure, double x, const Box& body) {
    const Box room{x, body.y, std::min(body.right() - x, 320.0), body.height};
    double y = room.y +
               add_legend(figure, {x, room.y}, room.width, scale_, legend_text(true), invalid_ > 0, true, layout_) + 12;
    const auto fact = [&](std::string_view name, const std::string& value, ColourRole role = ColourRole::text) {
      if (y + 20 > room.bottom()) return;
      const double value_width = layout_.text.width(value, TextRole::number);
      add_fitted(figure, {room.x, y + 14}, name, TextRole::text, {ColourRole::dim}, Anchor::start,
                 room.width - value_width - 8, layout_);
      add_fitted(figure, {room.x + room.width, y + 14}, value, TextRole::number, {role}, Anchor::end, room.width,
                 layout_);
      y += 24;
    };
    const auto section = [&](std::string_view name) {
      y += 12;
      if (y + 48 > room.bottom()) return false;
      add_fitted(figure, {room.x, y + 14}, name, TextRole::label, {ColourRole::text}, Anchor::start, room.width,
                 layout_);
      y += 28;
      return true;
    };
    fact(data_.latent ? "reads" : "reads KV head", data_.latent ? "the latent" : fmt::format("{}", data_.kv_head),
         accent(data_.facts.slot));
    fact("shared by heads", sharers());
    if (data_.kv_owner != data_.layer) fact("from layer", fmt::format("{}", data_.kv_owner), accent(data_.facts.slot));
    if (const auto found = head_habits(data_)) {
      fact("mean distance", fmt::format("{:.1f} tokens", found->distance_tokens));
      fact("on itself", weight_text(found->to_itself));
      fact("on the token before", weight_text(found->to_previous));
      fact("on the first token", weight_text(found->to_first));
    }
    if (const auto cell = cell_at(window_, selection_.query, selection_.key); cell && section("Selected"))
      paint_cell_row(figure, room, y, *cell);
    if (!best_.empty() && section(data_.bin == 1 ? "Largest weights" : "Largest cells")) {
      for (const MapCell& cell : best_) {
        if (y + 20 > room.bottom()) break;
        paint_cell_row(figure, room, y, cell);
      }
    }
  }

  std::string sharers() const {
    const int64_t first = data_.kv_head * data_.group_size;
    return data_.group_size == 1 ? fmt::format("{}", data_.head)
                                 : fmt::format("{}-{}", first, first + data_.group_size - 1);
  }

  /// "12 dog -> Lily 3" and, at the right, the weight. Words repeat, so their positions are with them.
  void paint_cell_row(Figure& figure, const Box& room, double& y, const MapCell& cell) {
    constexpr double weight_width = 68, arrow_width = 24;
    const auto text = [&](double x, std::string_view what, ColourRole role, Anchor anchor, double width) {
      add_fitted(figure, {x, y + 13}, what, TextRole::number, {role}, anchor, width, layout_);
    };
    const double each = std::floor((room.width - weight_width - arrow_width) / 2);
    const double middle = room.x + each + arrow_width / 2;
    const std::string query_at = position_text(cell.query), key_at = position_text(cell.key);
    const double left = layout_.text.width(query_at, TextRole::number), key_x = room.x + each + arrow_width;
    const double right = layout_.text.width(key_at, TextRole::number);
    const std::string key =
        layout_.text.fitted(cell_name(cell.key, window_.key_end), TextRole::number, each - right - 8);
    text(room.x, query_at, ColourRole::dim, Anchor::start, each);
    text(room.x + each, cell_name(cell.query, window_.row_end), ColourRole::text, Anchor::end, each - left - 8);
    text(middle, "\u2192", ColourRole::dim, Anchor::middle, arrow_width);
    text(key_x, key, ColourRole::text, Anchor::start, each);
    text(key_x + layout_.text.width(key, TextRole::number) + 8, key_at, ColourRole::dim, Anchor::start, right + 1);
    text(room.x + room.width, weight_text(static_cast<double>(cell.weight)), ColourRole::dim, Anchor::end,
         weight_width);
    y += 20;
  }

  /// Empty where a cell is several tokens, whose numbers are its name.
  std::string position_text(int64_t token) const { return data_.bin > 1 ? "" : fmt::format("{}", token); }

  std::string cell_name(int64_t token, int64_t end) const {
    if (data_.bin > 1) return cell_tokens(token, data_.bin, end);
    if (token >= static_cast<int64_t>(data_.pieces.size())) return fmt::format("{}", token);
    return token_label(data_.pieces[static_cast<size_t>(token)], layout_.text);
  }

  const MapData& data_;
  const MapState& state_;
  const Selection& selection_;
  const Layout& layout_;
  ShownMap window_;
  std::vector<MapCell> best_;
  int64_t invalid_ = 0;  ///< cells that hold no number
  ColourScale scale_;
  std::optional<TokenAxis> queries_, keys_;
  Box map_;
  double pitch_ = 0;         ///< px a token
  double left_ = 0;          ///< px of the query labels
  double below_ = 0;         ///< px of the key labels
  double entropy_room_ = 0;  ///< px right of the map for the entropy bars
  int64_t drawn_bin_ = 1;
};

}  // namespace

Json to_json(const MapState& s) {
  return {{"log_colour", s.log_colour},
          {"row_begin", s.row_begin},
          {"row_end", s.row_end},
          {"key_begin", s.key_begin},
          {"key_end", s.key_end}};
}

MapState map_state(const Json& json) {
  MapState state;
  StateReader reader(json, "map");
  reader.read("log_colour", state.log_colour);
  reader.read("row_begin", state.row_begin, 0);
  reader.read("row_end", state.row_end, 0);
  reader.read("key_begin", state.key_begin, 0);
  reader.read("key_end", state.key_end, 0);
  reader.finish();
  return state;
}

Figure map(const MapData& data, const MapState& state, const Selection& selection, const Layout& layout) {
  if (data.facts.tokens <= 0 || data.cells.empty()) {
    const std::string title = "Attention map", shows = "Shows which token looks at which, for one head.";
    if (data.facts.tokens <= 0) return empty_figure(title, shows, data.facts, layout);
    return empty_figure(title, shows, fmt::format("Layer {}, head {} was not kept in this run.", data.layer, data.head),
                        "Run the prompt again with this layer kept.", data.facts.slot, layout);
  }
  check_map(data);
  return MapPainter(data, state, selection, layout).paint();
}

}  // namespace headscope
