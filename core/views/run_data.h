#pragma once

#include "core/data/run_snapshot.h"
#include "core/data/tiles.h"
#include "core/views/atlas.h"
#include "core/views/kv.h"
#include "core/views/map.h"

namespace headscope {

/// What views draw, taken from a snapshot. Nothing is computed but means of stored statistics and, for the map, one
/// tile.
RunFacts run_facts(const RunSnapshot&);
AtlasData atlas_data(const RunSnapshot&);
KvData kv_data(const RunSnapshot&);

/// The map of one head over a window of tokens, at most `cells` cells a side: zoomed out, cells are max-pooled.
struct MapWindow {
  int64_t layer = 0;
  int64_t head = 0;
  int64_t row_begin = 0, row_end = 0;  ///< an end of 0: all tokens
  int64_t key_begin = 0, key_end = 0;
};
MapData map_data(const RunSnapshot&, const MapWindow&, int64_t cells, const ParallelFor&, std::stop_token = {});

}  // namespace headscope
