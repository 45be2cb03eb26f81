#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/views/map.h"

namespace headscope {

/// What is shown of a map's data, and what it says. Internal to the map view.
struct ShownMap {
  Grid cells;
  int64_t row_begin = 0, row_end = 0;  ///< tokens that the cells cover
  int64_t key_begin = 0, key_end = 0;
  int64_t bin = 1;

  int64_t rows() const { return row_end - row_begin; }
  int64_t keys() const { return key_end - key_begin; }
};

/// A cell with its first query and key.
struct MapCell {
  int64_t query = 0, key = 0;
  float weight = 0;
};

/// Where a head looks, as shares of its weight, over queries from 1 on.
struct HeadHabits {
  double to_itself = 0, to_previous = 0, to_first = 0, distance_tokens = 0;
};

/// Throws Error when the parts of the data do not fit together.
void check_map(const MapData&);

/// The part of the data in the state's zoom window, cut outwards to whole cells.
ShownMap shown_map(const MapData&, const MapState&);

/// The largest cells, largest first, ties in reading order. The cell of query 0 on key 0 is left out: a query
/// that sees one key alone gives it a weight of 1, which says nothing.
std::vector<MapCell> largest_cells(const ShownMap&, size_t count);

/// The cell with the selected query and key, if both are in the window.
std::optional<MapCell> cell_at(const ShownMap&, std::optional<int64_t> query, std::optional<int64_t> key);

/// Known from a whole map of single tokens whose rows sum to 1; else nothing.
std::optional<HeadHabits> head_habits(const MapData&);

/// "Layer 2, head 5 looks 21.4 tokens back on average. The largest weight: \u201Cdog\u201D looks at ..."
std::string map_sentence(const MapData&, const ShownMap&, const std::vector<MapCell>& largest, const TextMeasurer&);

/// "16-23": the tokens that a cell covers from `begin` on.
std::string cell_tokens(int64_t begin, int64_t bin, int64_t end);

/// One row a cell: query, key, their tokens and the weight.
Table map_table(const MapData&, const ShownMap&);

}  // namespace headscope
