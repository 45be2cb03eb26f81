#pragma once

#include "core/data/run_snapshot.h"
#include "core/data/tile_store.h"
#include "core/data/tiles.h"
#include "core/views/atlas.h"
#include "core/views/kv.h"
#include "core/views/map.h"

namespace headscope {

/// What views draw, taken from a snapshot. Nothing is computed but means of stored statistics and, for the map of the
/// command line, one tile. Thumbnails, texts and cells are shared with the snapshot, not copied.
RunFacts run_facts(const RunSnapshot&);
AtlasData atlas_data(const RunSnapshot&);
KvData kv_data(const RunSnapshot&);

/// The atlas of a run that grows: each row's statistics are added up once. One for each run; not thread-safe.
class AtlasSums {
 public:
  /// Adds the rows that this snapshot has more than the one before. Throws std::logic_error for one that is shorter.
  void add(const RunSnapshot&);
  /// The same to the bit as atlas_data of the snapshot, which must be the one that was added last.
  AtlasData data(const RunSnapshot&) const;

 private:
  struct HeadSums {
    double entropy = 0, distance = 0, sink = 0, max = 0, window = 0;
  };

  int64_t rows_ = 0;
  std::vector<std::vector<HeadSums>> sums_;  ///< [layers][q_heads], without the run's first row
};

/// The map of one head over a window of tokens, at most `cells` cells a side: zoomed out, cells are max-pooled.
struct MapWindow {
  int64_t layer = 0;
  int64_t head = 0;
  int64_t row_begin = 0, row_end = 0;  ///< an end of 0: all tokens
  int64_t key_begin = 0, key_end = 0;
};
MapData map_data(const RunSnapshot&, const MapWindow&, int64_t cells, const ParallelFor&, std::stop_token = {});

/// What to ask a TileStore for, so that a window (cut to the run; an end of 0: all tokens) has at most `cells` cells a
/// side: the bin of the map above, rounded up to a power of two, and ranges cut outwards to whole cells, which may add
/// one cell. `tokens`: of the run, at least 1.
MapRegion map_region(const MapWindow&, int64_t tokens, int64_t cells);

/// The same view of a region that a TileStore composed. Shares cells and texts.
MapData map_data(const std::shared_ptr<const RunSnapshot>&, const MapRegion&, const ComposedMap&);

}  // namespace headscope
