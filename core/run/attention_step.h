#pragma once

#include <string>
#include <vector>

#include "core/data/run_snapshot.h"
#include "core/data/workspace.h"
#include "kernels/kernels.h"

namespace headscope {

/// The growing counterpart of LayerRows: what one run keeps of one layer.
struct LayerRecord {
  GrowingRows q, row_max, log_sum, statistics;
  std::shared_ptr<ThumbnailGrid> thumbnails;  ///< replaced by a changed copy, never changed

  void truncate(int64_t rows) {
    for (GrowingRows* part : {&q, &row_max, &log_sum, &statistics}) part->truncate(rows);
  }
};

/// Runs a problem that is whole but for its results: writes O to `out` [q_len, q_heads, value_dim] and, where there is
/// a record, adds log-sum-exps, statistics and thumbnails of the rows to it. Returns the kernel's name.
std::string_view attend(const AttentionProblem&, LayerRecord* record, float* out, const ParallelFor&);

/// Doubles the bin of a grid: max pools compose exactly.
ThumbnailGrid coarser(const ThumbnailGrid&, int64_t q_heads);

}  // namespace headscope
