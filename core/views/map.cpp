#include "core/views/map.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "core/views/plot/legend.h"
#include "core/views/plot/pool.h"
#include "core/views/plot/ticks.h"
#include "core/views/plot/token_axis.h"
#include "core/views/state_json.h"

namespace headscope {
namespace {

constexpr double longest_label = 88;  ///< px of a token's text on an axis
constexpr double side_width = 248;    ///< of the column right of the map, with its gap
constexpr double entropy_width = 72;
constexpr size_t listed_cells = 6;

void check(const MapData& data) {
  const auto cells = [&](int64_t begin, int64_t end) { return (end - begin + data.bin - 1) / data.bin; };
  const bool ranges = data.bin >= 1 && data.row_begin >= 0 && data.key_begin >= 0 && data.row_end > data.row_begin &&
                      data.key_end > data.key_begin;
  if (!ranges || data.cells.rows != cells(data.row_begin, data.row_end) ||
      data.cells.cols != cells(data.key_begin, data.key_end)) {
    fail(
        "the map was given {} x {} cells of {} tokens for queries {} to {} and keys {} to {}, which do not fit "
        "together.",
        data.cells.rows, data.cells.cols, data.bin, data.row_begin, data.row_end, data.key_begin, data.key_end);
  }
  const auto entropies = static_cast<int64_t>(data.row_entropy_nats.size());
  if (entropies != 0 && entropies != data.row_end - data.row_begin) {
    fail("the map was given {} row entropies for {} queries.", entropies, data.row_end - data.row_begin);
  }
}

/// What is shown of the data: whole cells, and the tokens they cover.
struct Window {
  Grid cells;
  int64_t row_begin = 0, row_end = 0, key_begin = 0, key_end = 0;
  int64_t rows() const { return row_end - row_begin; }
  int64_t keys() const { return key_end - key_begin; }
};

Window cut(const MapData& data, const MapState& state) {
  const auto range = [&](int64_t from, int64_t to, int64_t all_from, int64_t all_to, int64_t& first, int64_t& count) {
    from = to > 0 ? std::clamp(from, all_from, all_to - 1) : all_from;
    to = to > 0 ? std::clamp(to, from + 1, all_to) : all_to;
    first = (from - all_from) / data.bin;
    count = (to - all_from + data.bin - 1) / data.bin - first;
  };
  int64_t row = 0, rows = 0, col = 0, cols = 0;
  range(state.row_begin, state.row_end, data.row_begin, data.row_end, row, rows);
  range(state.key_begin, state.key_end, data.key_begin, data.key_end, col, cols);
  const auto end = [&](int64_t begin, int64_t cells, int64_t limit) {
    return std::min(limit, begin + cells * data.bin);
  };
  Window window{data.cells.part(row, col, rows, cols)};
  window.row_begin = data.row_begin + row * data.bin;
  window.key_begin = data.key_begin + col * data.bin;
  window.row_end = end(window.row_begin, rows, data.row_end);
  window.key_end = end(window.key_begin, cols, data.key_end);
  return window;
}

/// A cell with its first query and key.
struct Cell {
  int64_t query = 0, key = 0;
  float weight = 0;
};

/// The largest cells of the window, largest first, ties in reading order. Query 0 sees one key alone, so its
/// weight of 1 says nothing and is left out.
std::vector<Cell> largest_cells(const Window& window, int64_t bin, size_t count) {
  std::vector<Cell> best;
  const auto larger = [](const Cell& a, const Cell& b) { return a.weight > b.weight; };
  for (int64_t r = 0; r < window.cells.rows; ++r) {
    for (int64_t c = 0; c < window.cells.cols; ++c) {
      const Cell cell{window.row_begin + r * bin, window.key_begin + c * bin, window.cells.at(r, c)};
      const bool trivial = cell.query == 0 && bin == 1;
      if (trivial || !(cell.weight > 0) || (best.size() == count && cell.weight <= best.back().weight)) continue;
      best.insert(std::upper_bound(best.begin(), best.end(), cell, larger), cell);
      if (best.size() > count) best.pop_back();
    }
  }
  return best;
}

/// Where the head looks, as shares of its weight. Only a whole unpooled map can say.
struct Habits {
  double to_itself = 0, to_previous = 0, to_first = 0, distance_tokens = 0;
};

bool whole(const MapData& data) {
  return data.bin == 1 && data.row_begin <= 1 && data.key_begin == 0 && data.row_end == data.facts.tokens &&
         data.key_end == data.facts.tokens && data.row_end >= 3;
}

std::optional<Habits> habits(const MapData& data) {
  if (!whole(data)) return {};
  Habits sum;
  double rows = 0;
  for (int64_t r = 0; r < data.cells.rows; ++r) {
    const int64_t query = data.row_begin + r;
    if (query == 0) continue;
    double all = 0;
    for (int64_t key = 0; key <= query; ++key) {
      const auto weight = static_cast<double>(data.cells.at(r, key));
      all += weight;
      sum.distance_tokens += weight * static_cast<double>(query - key);
      if (key == query) sum.to_itself += weight;
      if (key == query - 1) sum.to_previous += weight;
      if (key == 0) sum.to_first += weight;
    }
    if (!(std::abs(all - 1) < 1e-2)) return {};
    ++rows;
  }
  return Habits{sum.to_itself / rows, sum.to_previous / rows, sum.to_first / rows, sum.distance_tokens / rows};
}

std::string quoted_token(const MapData& data, int64_t token, const TextMeasurer& measurer) {
  const bool named = token < static_cast<int64_t>(data.pieces.size());
  const std::string text =
      named ? token_label(data.pieces[static_cast<size_t>(token)], measurer) : fmt::format("token {}", token);
  const std::string short_text = measurer.fitted(text, TextRole::text, 160);
  return named ? fmt::format("\u201C{}\u201D", short_text) : short_text;
}

std::string tokens_text(int64_t begin, int64_t bin, int64_t end) {
  return fmt::format("{}-{}", begin, std::min(end, begin + bin) - 1);
}

std::string habit_sentence(const MapData& data) {
  const auto found = habits(data);
  const std::string head = fmt::format("Layer {}, head {}", data.layer, data.head);
  if (!found) return "";
  const std::string distance = fmt::format("{:.1f} tokens back on average", found->distance_tokens);
  const auto share = [](double part) { return fmt::format("{:.0f} % of its weight", part * 100); };
  if (found->to_previous > 0.5)
    return fmt::format("{} reads mostly the token before ({}, {}). ", head, share(found->to_previous), distance);
  if (found->to_itself > 0.5)
    return fmt::format("{} reads mostly the token itself ({}, {}). ", head, share(found->to_itself), distance);
  if (found->to_first > 0.5)
    return fmt::format("{} rests mostly on the first token ({}). ", head, share(found->to_first));
  return fmt::format("{} looks {}. ", head, distance);
}

std::string sentence(const MapData& data, const Window& window, const std::vector<Cell>& best,
                     const TextMeasurer& measurer) {
  std::string out = habit_sentence(data);
  if (best.empty()) return out + "No weight is left to compare here.";
  const Cell& cell = best.front();
  const std::string weight = short_number(static_cast<double>(cell.weight));
  if (data.bin == 1) {
    return out + fmt::format("The largest weight: {} looks at {} with {}.", quoted_token(data, cell.query, measurer),
                             quoted_token(data, cell.key, measurer), weight);
  }
  return out + fmt::format("The largest cell: queries {} look at keys {} with {} {}.",
                           tokens_text(cell.query, data.bin, window.row_end),
                           tokens_text(cell.key, data.bin, window.key_end),
                           data.pooling == Pooling::mean ? "a mean weight of" : "up to", weight);
}

class MapPainter {
 public:
  MapPainter(const MapData& data, const MapState& state, const Selection& selection, const Layout& layout)
      : data_(data), state_(state), selection_(selection), layout_(layout), window_(cut(data, state)) {}

  Figure paint() {
    best_ = largest_cells(window_, data_.bin, listed_cells);
    invalid_ = has_invalid(window_.cells);
    RunFacts facts = data_.facts;
    add_remarks(facts);
    Box body;
    Figure figure = begin_figure(fmt::format("Layer {}, head {}", data_.layer, data_.head),
                                 sentence(data_, window_, best_, layout_.text), facts, layout_, body);
    find_scale();
    const bool side = body.width >= 640 && body.height >= 240;
    const Box room{body.x, body.y, body.width - (side ? side_width : 0), body.height - legend_height - 16};
    if (place_map(room)) {
      paint_map(figure);
      paint_legend(figure, {body.x, body.bottom() - legend_height}, body.width);
      if (side) paint_side(figure, {map_.right() + 32 + entropy_room_, body.y, side_width - 32, room.height});
    }
    figure.table = table();
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
    // The labels' room depends on the pitch and the pitch on the labels' room: ask with the widest, then settle.
    double left = longest_label, below = longest_label;
    for (int pass = 0; pass < 2; ++pass) {
      const double pitch =
          std::min((room.width - left - title_room - entropy_room_) / keys, (room.height - below - title_room) / rows);
      if (!(pitch > 0)) return false;
      pitch_ = pitch >= 4 ? std::floor(pitch) : pitch;
      if (pitch_ * std::max(rows, keys) < 16) return false;
      queries_.emplace(TokenAxis::Range{window_.row_begin, window_.row_end, pitch_}, data_.pieces, selection_.query,
                       shortest, layout_.text);
      keys_.emplace(TokenAxis::Range{window_.key_begin, window_.key_end, pitch_}, data_.pieces, selection_.key,
                    shortest, layout_.text);
      left = std::ceil(queries_->room() / 4) * 4, below = std::ceil(keys_->room() / 4) * 4;
    }
    map_ = {room.x + title_room + left, room.y, pitch_ * keys, pitch_ * rows};
    below_ = below;
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
    const double thickness = pitch_ >= 4 ? pitch_ - 1 : pitch_;
    figure.add(RectMark{{x, map_.y, entropy_width, map_.height}, Paint{ColourRole::raised, 0.5}, {}});
    // Below a pixel a row, one bar stands for the rows of a pixel and shows their mean.
    const int64_t step = std::max<int64_t>(1, static_cast<int64_t>(std::ceil(1 / pitch_)));
    for (int64_t row = window_.row_begin; row < window_.row_end; row += step) {
      double sum = 0;
      const int64_t end = std::min(window_.row_end, row + step);
      for (int64_t i = row; i < end; ++i)
        sum += static_cast<double>(data_.row_entropy_nats[static_cast<size_t>(i - data_.row_begin)]);
      const double mean = sum / static_cast<double>(end - row);
      const double y = map_.y + static_cast<double>(row - window_.row_begin) * pitch_;
      const double height = std::min(thickness * static_cast<double>(end - row), map_.bottom() - y);
      if (std::isnan(mean)) {
        figure.add(RectMark{{x, y, entropy_width, height}, Paint{ColourRole::invalid}, {}});
      } else {
        figure.add(RectMark{{x, y, entropy_width * std::clamp(mean / most, 0.0, 1.0), height},
                            Paint{accent(data_.facts.slot), 0.7},
                            {}});
      }
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

  void paint_legend(Figure& figure, Point at, double width) {
    LegendText text{fmt::format("attention weight, {}", scale_text(scale_)),
                    pooling_text(drawn_bin_, data_.pooling == Pooling::mean)};
    if (invalid_) text.second += "; some values are not numbers";
    add_legend(figure, at, width, scale_, text, invalid_, layout_);
  }

  // --- the column right of the map --------------------------------------------------------------------------

  void paint_side(Figure& figure, Box room) {
    room.width = std::min(room.width, layout_.width - padding - room.x);
    if (room.width < 160) return;
    double y = room.y;
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
    fact("reads KV head", fmt::format("{}", data_.kv_head), accent(data_.facts.slot));
    fact("shared by heads", sharers());
    if (data_.kv_owner != data_.layer) fact("from layer", fmt::format("{}", data_.kv_owner), accent(data_.facts.slot));
    if (const auto found = habits(data_)) {
      fact("mean distance", fmt::format("{:.1f} tokens", found->distance_tokens));
      fact("on itself", short_number(found->to_itself));
      fact("on the token before", short_number(found->to_previous));
      fact("on the first token", short_number(found->to_first));
    }
    if (const auto cell = selected_cell(); cell && section("Selected")) paint_cell_row(figure, room, y, *cell);
    if (!best_.empty() && section(data_.bin == 1 ? "Largest weights" : "Largest cells")) {
      for (const Cell& cell : best_) {
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

  std::optional<Cell> selected_cell() const {
    if (!selection_.query || !selection_.key) return {};
    const int64_t q = *selection_.query, k = *selection_.key;
    if (q < window_.row_begin || q >= window_.row_end || k < window_.key_begin || k >= window_.key_end) return {};
    const int64_t r = (q - window_.row_begin) / data_.bin, c = (k - window_.key_begin) / data_.bin;
    return Cell{window_.row_begin + r * data_.bin, window_.key_begin + c * data_.bin, window_.cells.at(r, c)};
  }

  /// query, arrow, key and, at the right, the weight.
  void paint_cell_row(Figure& figure, const Box& room, double& y, const Cell& cell) {
    const auto name = [&](int64_t token, int64_t end) {
      if (data_.bin > 1) return tokens_text(token, data_.bin, end);
      if (token >= static_cast<int64_t>(data_.pieces.size())) return fmt::format("{}", token);
      return token_label(data_.pieces[static_cast<size_t>(token)], layout_.text);
    };
    const std::string weight = short_number(static_cast<double>(cell.weight));
    const double tokens = room.width - 56, each = std::floor((tokens - 24) / 2);
    const Paint paint{ColourRole::text};
    add_fitted(figure, {room.x, y + 13}, name(cell.query, window_.row_end), TextRole::number, paint, Anchor::start,
               each, layout_);
    add_fitted(figure, {room.x + each + 12, y + 13}, "\u2192", TextRole::number, {ColourRole::dim}, Anchor::middle, 24,
               layout_);
    add_fitted(figure, {room.x + each + 24, y + 13}, name(cell.key, window_.key_end), TextRole::number, paint,
               Anchor::start, each, layout_);
    add_fitted(figure, {room.x + room.width, y + 13}, weight, TextRole::number, {ColourRole::dim}, Anchor::end, 56,
               layout_);
    y += 20;
  }

  Table table() const {
    struct Source {
      Window window;
      int64_t bin;
      std::vector<std::string> pieces;
    };
    auto source = std::make_shared<Source>(Source{window_, data_.bin, data_.pieces});
    const auto cols = static_cast<size_t>(window_.cells.cols);
    Table out{static_cast<size_t>(window_.cells.rows) * cols, {}};
    const auto query = [source, cols](size_t i) {
      return source->window.row_begin + static_cast<int64_t>(i / cols) * source->bin;
    };
    const auto key = [source, cols](size_t i) {
      return source->window.key_begin + static_cast<int64_t>(i % cols) * source->bin;
    };
    const auto piece = [source](int64_t token) {
      return token < static_cast<int64_t>(source->pieces.size()) ? source->pieces[static_cast<size_t>(token)]
                                                                 : std::string();
    };
    out.columns = {{"query", "", [query](size_t i) -> Table::Value { return query(i); }},
                   {"key", "", [key](size_t i) -> Table::Value { return key(i); }},
                   {"query_token", "", [query, piece](size_t i) -> Table::Value { return piece(query(i)); }},
                   {"key_token", "", [key, piece](size_t i) -> Table::Value { return piece(key(i)); }},
                   {"weight", data_.bin == 1 ? "" : pooling_text(data_.bin, data_.pooling == Pooling::mean),
                    [source, cols](size_t i) -> Table::Value {
                      const float weight =
                          source->window.cells.at(static_cast<int64_t>(i / cols), static_cast<int64_t>(i % cols));
                      return static_cast<double>(weight);
                    }}};
    return out;
  }

  static constexpr double title_room = 20;

  const MapData& data_;
  const MapState& state_;
  const Selection& selection_;
  const Layout& layout_;
  Window window_;
  std::vector<Cell> best_;
  bool invalid_ = false;
  ColourScale scale_;
  std::optional<TokenAxis> queries_, keys_;
  Box map_;
  double pitch_ = 0;         ///< px a token
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
    const bool no_model = data.facts.model.empty(), no_run = data.facts.tokens <= 0;
    return empty_figure("Attention map", "The map shows which token looks at which, for one head.",
                        no_model ? "No model is open."
                        : no_run ? "Nothing has been run yet."
                                 : fmt::format("Layer {}, head {} was not kept in this run.", data.layer, data.head),
                        no_model ? "Open a model."
                        : no_run ? "Run a prompt."
                                 : "Run the prompt again with this layer kept.",
                        layout);
  }
  check(data);
  return MapPainter(data, state, selection, layout).paint();
}

}  // namespace headscope
