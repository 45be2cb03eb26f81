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

/// Attention of one call of one layer, of all heads at once or of some after others. One thread uses it.
class AttentionStep {
 public:
  /// `q_len` rows of `q_heads` heads over `kv_len` keys. O goes to `out` [q_len, q_heads, value_dim]. Without a record
  /// nothing else is kept. Borrows both.
  AttentionStep(int64_t q_heads, int64_t q_len, int64_t kv_len, float* out, LayerRecord* record);
  /// Runs a problem that is whole but for its results and has the heads [first_head, first_head + problem.q_heads).
  /// Returns the kernel's name.
  std::string_view run(const AttentionProblem&, int64_t first_head, const ParallelFor&);
  /// Adds log-sum-exps, statistics and thumbnails to the record, where there is one; all heads have run.
  void store();

 private:
  float* of(Statistic which) { return statistics_[static_cast<size_t>(which)].data(); }
  RowStatistics statistics_from(int64_t first);
  void transpose(const std::vector<float>& values, float* rows, int64_t width, int64_t column) const;

  int64_t heads_, rows_;
  float* out_;
  LayerRecord* record_;
  std::shared_ptr<ThumbnailGrid> thumbnails_;
  std::vector<float> row_max_, log_sum_, statistics_[statistic_count];  ///< [q_heads, q_len], as kernels leave them
  std::vector<int32_t> argmax_;
};

/// Doubles the bin of a grid: max pools compose exactly.
ThumbnailGrid coarser(const ThumbnailGrid&, int64_t q_heads);

}  // namespace headscope
