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

/// Runs the attention of one layer for the last `tokens` rows of `record.q` (prepared, not yet published) over the
/// whole cache, keys `k` as they score and values `v` [kv_heads, n, value_dim], writes O to `out` [tokens, q_heads *
/// value_dim], and prepares the log-sum-exp and statistics rows of `record`. Returns the kernel's name.
std::string_view attend(const Architecture&, int64_t layer, int64_t first_position, int64_t tokens, const float* q,
                        const float* k, Rows<const float> v, LayerRecord& record, float* out, const ParallelFor&);

/// Doubles the bin of a grid: max pools compose exactly.
ThumbnailGrid coarser(const ThumbnailGrid&, int64_t q_heads);

}  // namespace headscope
