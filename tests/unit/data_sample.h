#pragma once

#include <memory>
#include <random>

#include "core/data/growing_rows.h"
#include "core/data/run_snapshot.h"
#include "kernels/parallel.h"

namespace headscope::sample {

/// Attention layers without a model around them.
struct RunShape {
  int64_t layers = 1, q_heads = 2, kv_heads = 1, key_dim = 8;
  int64_t window = 0;
  double soft_cap = 0;
  bool alibi = false;
  int64_t layers_per_cache = 1;  ///< 2: every second layer reads the cache of the one before
  int64_t expected_tokens = 1;   ///< sizes buffers and thumbnails, as in RunOptions
  int64_t thumbnail_cells = 64;
  double spread = 1;  ///< of the numbers in Q: how peaked the attention is
};

/// A run that grows as core/run's does, without LibTorch: random Q, K and V go through the attention kernel into
/// growing buffers, thumbnails are replaced by changed copies. One thread appends; snapshots may go to others.
class GrowingRun {
 public:
  explicit GrowingRun(const RunShape&, uint64_t seed = 1);
  void append(int64_t tokens, const ParallelFor& = SerialFor());
  std::shared_ptr<const RunSnapshot> snapshot() const;
  int64_t tokens() const { return tokens_; }

 private:
  struct Layer {
    GrowingRows q, row_max, log_sum, statistics;
    std::shared_ptr<const ThumbnailGrid> thumbnails;
  };
  struct Store {
    int64_t layer = 0;
    GrowingRows k, v;
  };

  void fill(GrowingRows&, int64_t tokens, double spread);
  void attend(int64_t layer, int64_t tokens, const ParallelFor&);

  RunShape shape_;
  std::mt19937_64 random_;
  std::shared_ptr<const Architecture> architecture_;
  std::shared_ptr<MemoryLedger> ledger_ = std::make_shared<MemoryLedger>();
  std::vector<Layer> layers_;
  std::vector<Store> stores_;
  int64_t tokens_ = 0;
  std::vector<int64_t> allocated_history_;
};

}  // namespace headscope::sample
