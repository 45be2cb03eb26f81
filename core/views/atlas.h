#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "core/io/json.h"
#include "core/views/figure.h"
#include "core/views/plot/heading.h"
#include "core/views/plot/pool.h"
#include "core/views/selection.h"

namespace headscope {

/// One query head. Metrics are means over the rows of the run but the first, which can only see itself; NaN where not
/// known.
struct AtlasHead {
  Grid map;                    ///< [cells, cells] largest weight of each cell; empty while it is not there yet
  double entropy_nats = 0;     ///< of the attention row
  double distance_tokens = 0;  ///< how far back the row looks
  double sink = 0;             ///< weight on the first token
  double max = 0;              ///< largest weight of the row
  double window = NAN;         ///< weight on the nearest 16 keys, itself counted; shown by the head's card only
  bool off = false;            ///< its output was zeroed; its map is that of the queries and keys it had
};

struct AtlasLayer {
  int64_t q_heads = 0;
  int64_t kv_heads = 0;          ///< of the cache this layer reads; divides q_heads
  int64_t kv_owner = 0;          ///< the layer whose cache this one reads; its own index: its own
  std::vector<AtlasHead> heads;  ///< [q_heads]
  bool latent = false;           ///< the one KV head is a latent row that serves all heads
};

struct AtlasData {
  RunFacts facts;
  int64_t bin = 1;  ///< tokens a cell of the maps; the maps cover facts.tokens tokens
  std::vector<AtlasLayer> layers;
};

enum class HeadMetric { entropy, distance, sink, max };

struct AtlasState {
  HeadMetric metric = HeadMetric::entropy;  ///< written under each map, or its colour where maps are too small
  int64_t first_layer = 0;                  ///< scroll position, used when not all fit
  int64_t first_head = 0;                   ///< likewise; a query head
};

Json to_json(const AtlasState&);
/// Throws Error naming an unknown key or a value that does not fit.
AtlasState atlas_state(const Json&);

/// All heads: a row for each layer, query heads side by side above the KV head they read. Cells are 16 to 96 px, as
/// large as fits; when not all fit at 16 px, as many whole layers and heads as do are shown from the state's position,
/// and the figure says which. Below 24 px a cell is the metric's colour. Regions "atlas/<layer>/<head>".
/// Whoever draws the same maps again and again keeps their pooled forms in `kept`, which is swept.
/// Throws Error when the data contradicts itself.
Figure atlas(const AtlasData&, const AtlasState&, const Selection&, const Layout&, PooledGrids* kept = nullptr);

}  // namespace headscope
