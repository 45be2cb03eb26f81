#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/data/run_snapshot.h"
#include "core/data/score.h"

namespace headscope {

/// Which part of which head's map is wanted, in tokens. `bin` is a power of two; ranges begin at multiples of it. A
/// last cell that the range cuts is whole all the same, unless the run ends in it.
struct MapRegion {
  int64_t layer = 0, head = 0;
  int64_t row_begin = 0, row_end = 0;
  int64_t key_begin = 0, key_end = 0;
  int64_t bin = 1;

  int64_t rows() const { return (row_end - row_begin + bin - 1) / bin; }     ///< cells
  int64_t columns() const { return (key_end - key_begin + bin - 1) / bin; }  ///< cells
  bool operator==(const MapRegion&) const = default;
};

/// A region composed from the tiles that are there.
struct ComposedMap {
  std::shared_ptr<const std::vector<float>> cells;  ///< [rows, columns] largest weight of each cell
  int64_t rows = 0, columns = 0;
  bool exact = false;            ///< false: some cells still come from a coarser tile or the thumbnail
  bool failed = false;           ///< some of those stay as they are: see TileStore::take_failure
  uint64_t version = 0;          ///< differs when the cells do
  std::string_view kernel = {};  ///< that computed the tiles of this zoom; empty: none is there yet
};

/// Queries for a thread that must not wait.
struct MapQueries {
  std::optional<RowsView> rows = {};  ///< nothing: they are still to come,
  bool failed = false;                ///< or could not be made
};

/// Why tiles or queries could not be computed.
struct TileFailure {
  uint64_t run = 0;
  std::string sentence;
};

/// Attention maps on demand: a cache of tiles of 256 x 256 cells at power-of-two zoom levels, computed on a lane of its
/// own by kernels that need no LibTorch, on a GPU on its side stream, least recently used out of a byte budget. Because
/// rows of a run never change once written, tiles stay right while the run grows: one cut by its end is only continued.
/// Thread-safe.
///
/// What comes from a coarser tile or the thumbnail is never too small: it is the largest weight of more than the cell.
/// Keys after all queries of a cell are 0 at once. When a tile fails (no memory), its cells stay as coarse as they are
/// until the viewer asks for another region or for more tokens.
class TileStore {
 public:
  /// `workers` threads compute, the lane's own among them, at lower priority than the caller's. `changed` is called on
  /// the lane's thread whenever cells have arrived: a tile, or a part of one that takes long; and when one failed. It
  /// must not throw, nor wait for a thread that destroys the store.
  TileStore(int workers, size_t byte_budget, std::function<void()> changed);
  ~TileStore();

  /// The region as well as it is known now, never waiting: exact tiles where they are, else the nearest coarser tile,
  /// else the run's thumbnail. Missing tiles are queued, those nearest to the middle first; a call drops what an
  /// earlier call for the same `viewer` queued and nobody wants any more. `run_id` tells runs apart (a new one for
  /// every prompt). When nothing has changed since the viewer's last call, the same cells are returned. No more tiles
  /// are queued than a viewer's share of the budget holds, so a region beyond that stays coarse at its rim. Of an older
  /// snapshot than tiles were computed for, cells cut by its end may hold later rows, and are not `exact`. Throws Error
  /// for a region outside the run, a bin that is no power of two, or more than `most_cells` cells.
  ComposedMap region(const std::shared_ptr<const RunSnapshot>&, uint64_t run_id, const MapRegion&, int viewer = 0);
  static constexpr int64_t most_cells = int64_t{1} << 24;

  /// The queries of a layer, of the first `rows` tokens at least, for a thread that must not wait: where they are
  /// neither kept nor made, they are made on the lane in the meantime and `changed` is called; what was asked for
  /// before and is still being made is not wanted any more then. When that fails, it is not tried again for the same
  /// snapshot's tokens until something else has been asked for.
  MapQueries queries(const std::shared_ptr<const RunSnapshot>&, uint64_t run_id, int64_t layer, int64_t rows);
  /// The newest failure that has not been taken yet, of a run that is not forgotten.
  std::optional<TileFailure> take_failure();

  bool idle() const;
  /// Waits until nothing is queued or running; for tests and scripts.
  void drain();
  /// Forgets the tiles of a run that is gone and stops work on them.
  void forget(uint64_t run_id);
  /// Of all tiles; never above the budget.
  size_t bytes() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace headscope
