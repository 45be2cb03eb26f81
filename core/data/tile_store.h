#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <tuple>
#include <vector>

#include "core/data/lane.h"
#include "core/data/run_snapshot.h"
#include "core/data/tiles.h"
#include "kernels/thread_pool.h"

namespace headscope {

/// Which part of which head's map is wanted, in tokens. `bin` is a power of two; ranges begin at multiples of it.
struct MapRegion {
  int64_t layer = 0, head = 0;
  int64_t row_begin = 0, row_end = 0;
  int64_t key_begin = 0, key_end = 0;
  int64_t bin = 1;
};

/// A region composed from the tiles that are there.
struct ComposedMap {
  std::shared_ptr<const std::vector<float>> cells;  ///< [rows, columns] largest weight of each cell
  int64_t rows = 0, columns = 0;
  bool exact = false;        ///< false: some cells still come from a coarser tile or the thumbnail
  uint64_t version = 0;      ///< differs when the cells do
};

/// Attention maps on demand: a cache of tiles of 256 x 256 cells at power-of-two zoom levels, computed on a lane of its
/// own by kernels that need no LibTorch, least recently used out of a byte budget. Because rows of a run never change
/// once written, tiles stay right while the run grows; only tiles cut by its end are computed again.
/// Thread-safe; `changed` is called on the lane's thread whenever a tile has arrived.
class TileStore {
 public:
  TileStore(int workers, size_t byte_budget, std::function<void()> changed);
  ~TileStore();

  /// The region as well as it is known now, never waiting: exact tiles where they are, else the nearest coarser tile,
  /// else the run's thumbnail. Missing tiles are queued, those nearest to the middle first; a call drops what an earlier
  /// call for the same `viewer` queued and nobody wants any more. `run_id` tells runs apart (a new one for every prompt).
  ComposedMap region(const std::shared_ptr<const RunSnapshot>&, uint64_t run_id, const MapRegion&, int viewer = 0);

  bool idle() const;
  /// Forgets the tiles of a run that is gone and stops work on them.
  void forget(uint64_t run_id);
  size_t bytes() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// The score before the softmax and the weight of one (query, key), computed in double from Q, K and the log-sum-exp of
/// the snapshot: right also where the weight is too small for f32. A key that the query does not see: -inf and 0.
struct ScoredWeight {
  double score = 0, weight = 0;
};
ScoredWeight score_and_weight(const RunSnapshot&, int64_t layer, int64_t head, int64_t query, int64_t key);

}  // namespace headscope
