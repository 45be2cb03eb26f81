#pragma once

#include <algorithm>
#include <compare>
#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "core/data/tile_store.h"
#include "kernels/parallel.h"

/// The parts of a TileStore that know no threads: what a tile is, how one is computed and how a region is put together
/// from several. Internal to core/data.
namespace headscope {

inline constexpr int64_t tile_cells = 256;
/// Queries times keys after which a tile in work shows what it has: about a frame on two cores.
inline constexpr int64_t band_products = int64_t{1} << 24;

/// Tile (row, column) of a level covers query tokens [row, row + 1) * tile_cells * bin, and keys likewise.
struct TileKey {
  uint64_t run = 0;
  int64_t layer = 0, head = 0;
  int64_t bin = 1;
  int64_t row = 0, column = 0;

  auto operator<=>(const TileKey&) const = default;
  int64_t span() const { return tile_cells * bin; }  ///< tokens a side
  int64_t row_begin() const { return row * span(); }
  int64_t key_begin() const { return column * span(); }
  /// Query tokens end here in a run of `tokens` tokens.
  int64_t row_end(int64_t tokens) const { return std::min(tokens, row_begin() + span()); }
  /// The tile of the next level in which this one lies.
  TileKey coarser() const { return {run, layer, head, bin * 2, row / 2, column / 2}; }
};

/// Largest weights, [known rows of cells, tile_cells]; immutable.
struct MapTile {
  int64_t length = 0;  ///< query tokens before this one are in the cells, from the tile's first on
  std::vector<float> cells;
  std::string_view kernel = {};

  size_t bytes() const { return sizeof(*this) + cells.size() * sizeof(float); }
};
using MapTilePtr = std::shared_ptr<const MapTile>;

/// Whether every weight of the tile is 0 because no query sees a key: above the diagonal or beyond the window.
bool sees_nothing(const TileKey&, int64_t window);

/// Whether the rows of `tile` (may be null) are those of a run of `tokens` tokens. One that was computed for a longer
/// run is, where no cell is cut by the end of the shorter.
bool covers(const TileKey&, const MapTile* tile, int64_t tokens);

/// `known` (may be null) with more rows, about `band_products` at most; its cells are kept, but for the
/// last row when it was cut. Throws Cancelled when `stop` is requested.
MapTilePtr extend_tile(const RunSnapshot&, const TileKey&, const MapTile* known, const ParallelFor&, std::stop_token);

/// One tile's part of a region with what may fill it, best first.
struct TileSource {
  TileKey key;
  MapTilePtr tile;                                      ///< null: not there yet
  std::vector<std::pair<TileKey, MapTilePtr>> coarser;  ///< nearest level first
};

struct Composition {
  std::shared_ptr<const std::vector<float>> cells;
  bool exact = true;
  std::string_view kernel = {};  ///< that computed the tiles of this zoom; empty: none is there yet
};

/// Fills a region from the sources that it meets; cells without a source are 0.
Composition compose_region(const RunSnapshot&, const MapRegion&, const std::vector<TileSource>&);

}  // namespace headscope
