#pragma once

#include <optional>
#include <vector>

#include "core/data/on_device.h"
#include "core/data/run_snapshot.h"
#include "kernels/kernels.h"

namespace headscope {

/// The growing counterpart of LayerRows: what one run keeps of one layer.
struct LayerRecord {
  std::optional<GrowingRows> q, input;  ///< none where the budget has no room for them (core/run/query_budget.h)
  GrowingRows row_max, log_sum, statistics;
  std::shared_ptr<ThumbnailGrid> thumbnails;
  bool grid_is_lent = false;  ///< to a snapshot: replaced by a changed copy, never changed

  /// The grid, to change it.
  ThumbnailGrid& own_grid() {
    if (grid_is_lent) thumbnails = std::make_shared<ThumbnailGrid>(*thumbnails);
    grid_is_lent = false;
    return *thumbnails;
  }
  void truncate(int64_t rows) {
    for (GrowingRows* part : {&row_max, &log_sum, &statistics}) part->truncate(rows);
    for (std::optional<GrowingRows>* part : {&q, &input}) {
      if (*part) (*part)->truncate(rows);
    }
  }
};

/// Attention of one call of one layer, of all heads at once or of some after others. One thread uses it.
class AttentionStep {
 public:
  /// `q_len` rows of `q_heads` heads over `kv_len` keys. O goes to `out` [q_len, q_heads, value_dim], in the device's
  /// memory. Without a record nothing else is kept. Borrows all three.
  AttentionStep(const Device&, int64_t q_heads, int64_t q_len, int64_t kv_len, float* out, LayerRecord* record);
  /// Runs a problem that is whole but for its results and has the heads [first_head, first_head + problem.q_heads).
  /// Returns the kernel's name.
  std::string_view run(const AttentionProblem&, int64_t first_head, const ParallelFor&);
  /// Adds log-sum-exps, statistics and thumbnails to the record, where there is one; all heads have run.
  void store();

 private:
  /// What kernels leave of the rows: arrays [q_heads, q_len], one after the other.
  struct Results {
    std::vector<float> numbers;  ///< row_max, log_sum, then the statistics
    std::vector<int32_t> argmax;
    std::optional<FromDevice<float>> numbers_there, grid_there;
    std::optional<FromDevice<int32_t>> argmax_there;
  };
  int64_t size() const { return heads_ * rows_; }
  void bring_results();
  void transpose(int64_t array, float* rows, int64_t width, int64_t column) const;

  const Device& device_;
  int64_t heads_, rows_;
  float* out_;
  LayerRecord* record_;
  std::shared_ptr<ThumbnailGrid> thumbnails_;
  Results results_;
};

/// Makes a grid coarse enough for `tokens` tokens.
void fit(ThumbnailGrid&, int64_t q_heads, int64_t tokens);
/// Doubles the bin of a grid: max pools compose exactly.
ThumbnailGrid coarser(const ThumbnailGrid&, int64_t q_heads);

}  // namespace headscope
