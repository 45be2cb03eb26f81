#pragma once

#include <string>
#include <vector>

#include "core/io/json.h"
#include "core/views/figure.h"
#include "core/views/plot/heading.h"
#include "core/views/plot/token_axis.h"
#include "core/views/selection.h"
#include "kernels/attention.h"

namespace headscope {

/// One head's attention map or a part of it.
struct MapData {
  RunFacts facts;
  int64_t layer = 0;
  int64_t head = 0;                    ///< query head
  int64_t kv_head = 0;                 ///< the KV head it reads
  bool latent = false;                 ///< which is a latent row that serves all heads
  int64_t group_size = 1;              ///< query heads that read it
  int64_t kv_owner = 0;                ///< the layer whose cache is read
  int64_t row_begin = 0, row_end = 0;  ///< query tokens that the cells cover
  int64_t key_begin = 0, key_end = 0;  ///< key tokens
  int64_t bin = 1;                     ///< tokens a cell, both ways
  Pooling pooling = Pooling::max;
  Grid cells;                           ///< [ceil(rows / bin), ceil(keys / bin)]; empty: no run, or not kept
  TokenTexts pieces;                    ///< text of each token of the run, by position
  std::vector<float> row_entropy_nats;  ///< of tokens [row_begin, row_end), or empty
};

struct MapState {
  bool log_colour =
      true;  ///< from 1 / (16 n) to 1; else from 0 to the largest weight shown, token 0 on itself left out
  /// Zoom window in tokens; an end of 0 shows all that the data covers. Cut outwards to whole cells.
  int64_t row_begin = 0, row_end = 0;
  int64_t key_begin = 0, key_end = 0;
};

Json to_json(const MapState&);
/// Throws Error naming an unknown key or a value that does not fit.
MapState map_state(const Json&);

/// One head's map: queries down, keys across, tokens named along both sides, square cells. The selected query
/// and key are marked with lines. Region "map/cell" is the cells' area. Throws Error when the data contradicts
/// itself.
Figure map(const MapData&, const MapState&, const Selection&, const Layout&);

}  // namespace headscope
