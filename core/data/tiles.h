#pragma once

#include <stop_token>
#include <vector>

#include "core/data/run_snapshot.h"
#include "kernels/kernels.h"

namespace headscope {

/// A rectangle of one head's attention map, any zoom. Ranges count tokens.
struct TileQuery {
  int64_t layer = 0;
  int64_t head = 0;
  int64_t row_begin = 0, row_end = 0;
  int64_t key_begin = 0, key_end = 0;
  int64_t bin = 1;  ///< tokens a cell
  Pooling pooling = Pooling::max;
};

struct Tile {
  int64_t rows = 0, columns = 0;
  std::vector<float> cells;  ///< [rows, columns] weights
  std::string_view kernel;   ///< the name of the one that computed them
};

/// Throws Error for a head that the model does not have and for ranges outside the run.
void check_tile_query(const RunSnapshot&, const TileQuery&);

/// Recomputes the rectangle from Q, K and the log-sum-exp of the snapshot; exact at every zoom. Throws Error for
/// ranges outside the run, and Cancelled when `stop` is requested. `kernel` is the fastest one where none is given.
/// Takes longer where the layer's queries must be made first (queries_of).
/// Work goes to the workers' stream, which is idle when this returns or throws: nothing reads the snapshot any more.
Tile compute_tile(const RunSnapshot&, const TileQuery&, const ParallelFor&, std::stop_token stop = {},
                  const AttentionKernel* kernel = nullptr);

/// The same with the layer's queries at hand.
Tile compute_tile(const RunSnapshot&, const RowsView& queries, const TileQuery&, const ParallelFor&,
                  std::stop_token stop = {}, const AttentionKernel* kernel = nullptr);

}  // namespace headscope
