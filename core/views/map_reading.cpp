#include "core/views/map_reading.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "core/views/plot/legend.h"

namespace headscope {
namespace {

bool is_whole(const MapData& data) {
  return data.bin == 1 && data.row_begin <= 1 && data.key_begin == 0 && data.row_end == data.facts.tokens &&
         data.key_end == data.facts.tokens && data.row_end >= 3;
}

/// The token's text in running text: without the space it begins with.
std::string quoted_token(const MapData& data, int64_t token, const TextMeasurer& measurer) {
  if (token >= static_cast<int64_t>(data.pieces.size())) return fmt::format("token {}", token);
  std::string_view piece = data.pieces[static_cast<size_t>(token)];
  const size_t letters = piece.find_first_not_of(' ');
  if (letters != piece.npos) piece.remove_prefix(letters);
  return fmt::format("\u201C{}\u201D", measurer.fitted(token_label(piece, measurer), TextRole::text, 160));
}

std::string habit_sentence(const MapData& data) {
  const auto habits = head_habits(data);
  if (!habits) return "";
  const std::string head = fmt::format("Layer {}, head {}", data.layer, data.head);
  const std::string distance = fmt::format("{:.1f} tokens back on average", habits->distance_tokens);
  const auto share = [](double part) { return fmt::format("{:.0f} % of its weight", part * 100); };
  if (habits->to_previous > 0.5) {
    return fmt::format("{} reads mostly the token before ({}, {}). ", head, share(habits->to_previous), distance);
  }
  if (habits->to_itself > 0.5) {
    return fmt::format("{} reads mostly the token itself ({}, {}). ", head, share(habits->to_itself), distance);
  }
  if (habits->to_first > 0.5)
    return fmt::format("{} rests mostly on the first token ({}). ", head, share(habits->to_first));
  return fmt::format("{} looks {}. ", head, distance);
}

}  // namespace

void check_map(const MapData& data) {
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

ShownMap shown_map(const MapData& data, const MapState& state) {
  struct Cells {
    int64_t first, count;
  };
  const auto cells = [&](int64_t from, int64_t to, int64_t all_from, int64_t all_to) -> Cells {
    const int64_t begin = to > 0 ? std::clamp(from, all_from, all_to - 1) : all_from;
    const int64_t end = to > 0 ? std::clamp(to, begin + 1, all_to) : all_to;
    const int64_t first = (begin - all_from) / data.bin;
    return {first, (end - all_from + data.bin - 1) / data.bin - first};
  };
  const Cells rows = cells(state.row_begin, state.row_end, data.row_begin, data.row_end);
  const Cells keys = cells(state.key_begin, state.key_end, data.key_begin, data.key_end);
  ShownMap window;
  window.bin = data.bin;
  window.cells = data.cells.part(rows.first, keys.first, rows.count, keys.count);
  window.row_begin = data.row_begin + rows.first * data.bin;
  window.key_begin = data.key_begin + keys.first * data.bin;
  window.row_end = std::min(data.row_end, window.row_begin + rows.count * data.bin);
  window.key_end = std::min(data.key_end, window.key_begin + keys.count * data.bin);
  return window;
}

std::vector<MapCell> largest_cells(const ShownMap& window, size_t count) {
  std::vector<MapCell> best;
  const auto larger = [](const MapCell& a, const MapCell& b) { return a.weight > b.weight; };
  float least = 0;  // of those that would be listed; most of a million cells end at this comparison
  for (int64_t r = 0; r < window.cells.rows; ++r) {
    const float* row = window.cells.row_data(r);
    for (int64_t c = 0; c < window.cells.cols; ++c) {
      if (!(row[c] > least)) continue;
      const MapCell cell{window.row_begin + r * window.bin, window.key_begin + c * window.bin, row[c]};
      if (cell.query == 0 && cell.key == 0) continue;
      best.insert(std::upper_bound(best.begin(), best.end(), cell, larger), cell);
      if (best.size() > count) best.pop_back();
      if (best.size() == count) least = best.back().weight;
    }
  }
  return best;
}

std::optional<MapCell> cell_at(const ShownMap& window, std::optional<int64_t> query, std::optional<int64_t> key) {
  if (!query || !key || *query < window.row_begin || *query >= window.row_end || *key < window.key_begin ||
      *key >= window.key_end) {
    return {};
  }
  const int64_t r = (*query - window.row_begin) / window.bin, c = (*key - window.key_begin) / window.bin;
  return MapCell{window.row_begin + r * window.bin, window.key_begin + c * window.bin, window.cells.at(r, c)};
}

std::optional<HeadHabits> head_habits(const MapData& data) {
  if (!is_whole(data)) return {};
  HeadHabits sum;
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
  return HeadHabits{sum.to_itself / rows, sum.to_previous / rows, sum.to_first / rows, sum.distance_tokens / rows};
}

std::string cell_tokens(int64_t begin, int64_t bin, int64_t end) {
  const int64_t last = std::min(end, begin + bin) - 1;
  return last == begin ? fmt::format("{}", begin) : fmt::format("{}-{}", begin, last);
}

std::string map_sentence(const MapData& data, const ShownMap& window, const std::vector<MapCell>& largest,
                         const TextMeasurer& measurer) {
  const std::string habits = habit_sentence(data);
  if (largest.empty()) return habits + "No query here has more than one key to choose from.";
  const bool zoomed = window.rows() != data.facts.tokens || window.keys() != data.facts.tokens;
  const MapCell& cell = largest.front();
  const std::string weight = weight_text(static_cast<double>(cell.weight));
  if (data.bin == 1) {
    return habits + fmt::format("The largest weight{}: {} looks at {} with {}.", zoomed ? " shown" : "",
                                quoted_token(data, cell.query, measurer), quoted_token(data, cell.key, measurer),
                                weight);
  }
  return habits + fmt::format("The largest cell{}: queries {} look at keys {} with {} {}.", zoomed ? " shown" : "",
                              cell_tokens(cell.query, data.bin, window.row_end),
                              cell_tokens(cell.key, data.bin, window.key_end),
                              data.pooling == Pooling::mean ? "a mean weight of" : "up to", weight);
}

Table map_table(const MapData& data, const ShownMap& shown) {
  struct Source {
    ShownMap window;
    TokenTexts pieces;

    int64_t row(size_t i) const { return static_cast<int64_t>(i) / window.cells.cols; }
    int64_t col(size_t i) const { return static_cast<int64_t>(i) % window.cells.cols; }
    int64_t query(size_t i) const { return window.row_begin + row(i) * window.bin; }
    int64_t key(size_t i) const { return window.key_begin + col(i) * window.bin; }
    std::string piece(int64_t token) const {
      return token < static_cast<int64_t>(pieces.size()) ? pieces[static_cast<size_t>(token)] : std::string();
    }
  };
  const auto source = std::make_shared<const Source>(Source{shown, data.pieces});
  const std::string unit = data.bin == 1 ? "" : pooling_text(data.bin, data.pooling == Pooling::mean);
  using Value = Table::Value;
  Table out{static_cast<size_t>(shown.cells.rows * shown.cells.cols), {}};
  out.columns = {
      {"query", "", [source](size_t i) -> Value { return source->query(i); }},
      {"key", "", [source](size_t i) -> Value { return source->key(i); }},
      {"query_token", "", [source](size_t i) -> Value { return source->piece(source->query(i)); }},
      {"key_token", "", [source](size_t i) -> Value { return source->piece(source->key(i)); }},
      {"weight", unit,
       [source](size_t i) -> Value {
         return static_cast<double>(source->window.cells.at(source->row(i), source->col(i)));
       }},
  };
  return out;
}

}  // namespace headscope
