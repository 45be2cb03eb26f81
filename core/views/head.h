#pragma once

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "core/arch/architecture.h"
#include "core/io/json.h"
#include "core/views/atlas.h"
#include "core/views/figure.h"
#include "core/views/plot/heading.h"
#include "core/views/selection.h"

namespace headscope {

/// Means over rows, as in AtlasHead; NaN where not known.
struct HeadNumbers {
  double entropy_nats = NAN;
  double distance_tokens = NAN;
  double max = NAN;
  double sink = NAN;
  double window = NAN;  ///< weight on the nearest 16 keys, itself counted
};

/// What a head would have that gives every visible key the same weight, exactly: row i sees v = i + 1 keys, or
/// `window` if that is fewer (0: all), and has entropy ln v, distance (v - 1) / 2, largest weight 1 / v, 1 / v on the
/// first token while it is visible, min(16, v) / v on the nearest 16. Means over rows 1 to tokens - 1, as for heads;
/// of a single row, its values. O(tokens): compute once a run and keep it.
HeadNumbers even_attention(int64_t tokens, int64_t window);

struct NextToken {
  std::string piece;
  double probability = 0;
  double before = NAN;  ///< with the heads that were off before; not a number when there is nothing to compare with
};

/// The selected head.
struct HeadData {
  RunFacts facts;
  int64_t layer = -1, head = -1;  ///< -1: no head is selected
  int64_t kv_head = 0;            ///< the KV head it reads
  bool latent = false;            ///< which is a latent row that serves all heads
  int64_t group_size = 1;         ///< query heads that read it
  int64_t kv_owner = 0;           ///< the layer whose cache is read
  int64_t window = 0;             ///< keys a query sees; 0: all
  HeadNumbers numbers;
  HeadNumbers even;
  std::shared_ptr<const std::vector<HeadNumbers>> others;  ///< all heads of the model; null: not known
  Grid map;                     ///< whole prompt, queries down; empty while it is not there yet
  int64_t bin = 1;              ///< tokens a cell of the map; the largest weight stands for them
  std::vector<NextToken> next;  ///< most likely first, or empty
};

/// A head of an atlas, with its thumbnail as the map. `next` stays empty. Throws Error when there is no such head.
HeadData head_data(const AtlasData&, const Architecture&, int64_t layer, int64_t head);

struct HeadState {
  bool log_colour = true;  ///< of the map, as in MapState
  bool others = true;      ///< show where all heads of the model lie
};

Json to_json(const HeadState&);
/// Throws Error naming an unknown key or a value that does not fit.
HeadState head_state(const Json&);

/// The card of one head: its map, its numbers beside what even attention gives and beside all other heads, the next
/// token. One column, or two from 560 px of width. What does not fit is left out from the bottom. The selection's
/// query and key are a crosshair on the map. Regions "head/map", "head/<metric>", "head/next/<rank>".
/// Throws Error when the data contradicts itself.
Figure head(const HeadData&, const HeadState&, const Selection&, const Layout&);

}  // namespace headscope
