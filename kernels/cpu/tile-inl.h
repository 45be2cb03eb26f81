// Rectangles of heads' maps at any zoom, compiled once per vector target.
#if defined(HEADSCOPE_TILE_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_TILE_INL
#undef HEADSCOPE_TILE_INL
#else
#define HEADSCOPE_TILE_INL
#endif

#include "kernels/cpu/cells-inl.h"
#include "kernels/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::cpu::HWY_NAMESPACE {

/// Rows of cells [first, first + count) of one request: a task.
struct TileTask {
  size_t request;
  int64_t first, count;
};

/// Cuts requests into tasks of at most chunk_rows query rows (or one row of cells), the same number for each worker
/// where there are enough. Cells are the same however they are cut.
class TilePlan {
 public:
  TilePlan(std::span<const TileRequest> requests, int workers) : requests_(requests), workers_(workers) {}

  int64_t tasks() const {
    int64_t count = 0;
    for (const TileRequest& request : requests_) count += tasks(request);
    return count;
  }

  /// Within a request the last rows come first: under a causal mask they see the most keys.
  TileTask task(int64_t index) const {
    for (size_t i = 0;; ++i) {
      const TileRequest& request = requests_[i];
      const int64_t count = tasks(request);
      if (index >= count) {
        index -= count;
        continue;
      }
      const int64_t first = (count - 1 - index) * step(request);
      return {i, first, std::min(step(request), request.rows() - first)};
    }
  }

  /// Most rows of cells of a task, for any number of workers.
  static int64_t most_rows(const TileRequest& request) {
    return request.bin >= chunk_rows ? 1 : chunk_rows / request.bin;
  }

 private:
  int64_t step(const TileRequest& request) const {
    const int64_t rows = request.rows();
    if (rows == 0) return 1;
    const int64_t enough = (rows + most_rows(request) - 1) / most_rows(request);
    const int64_t even = round_up(enough, workers_);
    return std::max<int64_t>(1, (rows + even - 1) / even);
  }
  int64_t tasks(const TileRequest& request) const { return (request.rows() + step(request) - 1) / step(request); }

  std::span<const TileRequest> requests_;
  int64_t workers_;
};

/// Whether doubles have to hold the sums of the cells: a mean of one place is that place.
HWY_INLINE bool sums_cells(const TileRequest& request) { return request.pooling == Pooling::mean && request.bin > 1; }

struct TileScratch {
  ScoreBlock block;
  ColumnPool pool;
  double* sums;  ///< [rows of cells][columns] of the task, for the mean

  static TileScratch carve(Carver& carver, const CpuProblem& p, std::span<const TileRequest> requests) {
    TileScratch scratch{};
    scratch.block = ScoreBlock::carve(carver, p);
    scratch.pool = ColumnPool::carve(carver);
    int64_t cells = 0;
    for (const TileRequest& request : requests) {
      if (sums_cells(request)) cells = std::max(cells, TilePlan::most_rows(request) * request.columns());
    }
    scratch.sums = carver.take<double>(cells);
    return scratch;
  }
};

class TileWork {
 public:
  /// `cells` is the task's first.
  TileWork(const CpuProblem& problem, const float* row_max, const float* log_sum, const TileRequest& request,
           const TileTask& task, float* cells, const TileScratch& scratch)
      : p_(problem),
        row_max_(row_max),
        log_sum_(log_sum),
        request_(request),
        columns_(request.columns()),
        count_(task.count * columns_),
        first_row_(request.row_begin + task.first * request.bin),
        end_row_(std::min(first_row_ + task.count * request.bin, request.row_end)),
        cells_(cells),
        scratch_(scratch) {}

  /// Fills the cells; stops early when asked to.
  void run(const std::stop_token& stop) {
    const bool peaks = request_.pooling == Pooling::max && request_.bin > 1;
    std::fill_n(cells_, count_, peaks ? minus_infinity : 0.0F);
    if (sums_cells(request_)) std::fill_n(scratch_.sums, count_, 0.0);
    for (int64_t row = first_row_; row < end_row_; row += chunk_rows) {
      if (!add_rows(row, std::min(row + chunk_rows, end_row_), stop)) return;
    }
    if (sums_cells(request_)) write_means();
    if (peaks) write_peaks();
  }

 private:
  KeyRange asked(int64_t row) const { return visible_keys(p_, row).intersect({request_.key_begin, request_.key_end}); }

  bool add_rows(int64_t begin, int64_t end, const std::stop_token& stop) {
    ScoreBlock& block = scratch_.block;
    block.count = end - begin;
    KeyRange all;
    for (int64_t slot = 0; slot < block.count; ++slot) {
      block.rows[slot] = query_row(p_, request_.q_head, begin + slot);
      all.unite(asked(begin + slot));
    }
    if (all.empty()) return true;
    pack_queries(p_, request_.batch, block.rows, block.count, block.queries);
    const int64_t kv_head = request_.q_head / (p_.q_heads / p_.kv_heads);
    const CellCut cut{request_.key_begin, request_.bin, block_keys};
    for (int64_t key = all.begin; key < all.end;) {
      if (stop.stop_requested()) return false;
      const KeyRange piece = cut.piece(key);
      for (int64_t slot = 0; slot < block.count; ++slot) block.rows[slot].keys = asked(begin + slot).intersect(piece);
      block.start(piece.begin);
      multiply_scores(p_, request_.batch, kv_head, block);
      add_block();
      key = piece.end;
    }
    return true;
  }

  KnownRow known(const QueryRow& row) const {
    const int64_t at = (request_.batch * p_.q_heads + request_.q_head) * p_.q_len + row.row;
    return {row, row_max_[at], log_sum_[at]};
  }

  void add_block() {
    const ScoreBlock& block = scratch_.block;
    if (request_.bin == 1) {
      for (int64_t slot = 0; slot < block.count; ++slot) write_row(slot);
      return;
    }
    for (int64_t slot = 0; slot < block.count;) {
      const int64_t inside = (block.rows[slot].row - request_.row_begin) % request_.bin;
      const int64_t end = std::min(block.count, slot + std::min(group_rows, request_.bin - inside));
      if (request_.pooling == Pooling::max) {
        pool_rows<Keep::peaks>(slot, end);
      } else {
        pool_rows<Keep::sums>(slot, end);
      }
      slot = end;
    }
  }

  /// Cells of one place each: the weights themselves.
  void write_row(int64_t slot) {
    const ScoreBlock& block = scratch_.block;
    const KeyRange seen = block.columns(slot);
    if (seen.empty()) return;
    add_row<Keep::weights>(p_, block, slot, known(block.rows[slot]), seen, scratch_.pool);
    float* cells = cells_ + (block.rows[slot].row - first_row_) * columns_;
    std::copy_n(block.row_scores(slot) + seen.begin, seen.end - seen.begin,
                cells + block.first + seen.begin - request_.key_begin);
  }

  /// Adds rows [slot, end) of one row of cells.
  template <Keep keep>
  void pool_rows(int64_t slot, int64_t end) {
    const ScoreBlock& block = scratch_.block;
    const KeyRange span = group_span(block, slot, end);
    if (span.empty()) return;
    const ColumnPool& pool = scratch_.pool;
    pool.clear();
    for (int64_t i = slot; i < end; ++i) add_row<keep>(p_, block, i, known(block.rows[i]), span, pool);
    const int64_t first_column = (block.first - request_.key_begin) / request_.bin;
    const int64_t cell = (block.rows[slot].row - first_row_) / request_.bin * columns_ + first_column;
    if constexpr (keep == Keep::peaks) {
      fold_columns<PeakOfColumns>(request_.bin, span, pool.peaks, pool.windows, [&](int64_t i, float peak) {
        if (peak > cells_[cell + i]) cells_[cell + i] = peak;
      });
    } else {
      fold_columns<SumOfColumns>(request_.bin, span, pool.sums, pool.windows,
                                 [&](int64_t i, float sum) { scratch_.sums[cell + i] += double{sum}; });
    }
  }

  void write_peaks() {
    const F d;
    int64_t i = 0;
    for (; i + lanes <= count_; i += lanes) hn::StoreU(weight_of(hn::LoadU(d, cells_ + i)), d, cells_ + i);
    for (; i < count_; ++i) cells_[i] = hn::GetLane(weight_of(hn::Set(d, cells_[i])));
  }

  void write_means() {
    for (int64_t i = 0; i < count_; ++i) {
      const int64_t row = first_row_ + i / columns_ * request_.bin;
      const int64_t key = request_.key_begin + i % columns_ * request_.bin;
      const int64_t height = std::min(request_.bin, request_.row_end - row);
      const int64_t width = std::min(request_.bin, request_.key_end - key);
      cells_[i] = static_cast<float>(scratch_.sums[i] / static_cast<double>(height * width));
    }
  }

  const CpuProblem& p_;
  const float* row_max_;
  const float* log_sum_;
  const TileRequest& request_;
  const int64_t columns_, count_;  ///< cells of a row, of the task
  const int64_t first_row_, end_row_;
  float* cells_;
  TileScratch scratch_;
};

inline size_t tiles_workspace(const CpuProblem& p, std::span<const TileRequest> requests, int workers) {
  Carver carver;
  TileScratch::carve(carver, p, requests);
  return carver.bytes() * static_cast<size_t>(workers);
}

inline bool tiles(const CpuProblem& p, const float* row_max, const float* log_sum,
                  std::span<const TileRequest> requests, std::span<float* const> cells, std::span<std::byte> workspace,
                  const ParallelFor& parallel, std::stop_token stop) {
  const size_t worker_bytes = tiles_workspace(p, requests, 1);
  const TilePlan plan(requests, parallel.workers());
  parallel.run(plan.tasks(), [&](int64_t index, int worker) {
    if (stop.stop_requested()) return;
    Carver carver(workspace.data() + static_cast<size_t>(worker) * worker_bytes);
    const TileTask task = plan.task(index);
    const TileRequest& request = requests[task.request];
    float* first = cells[task.request] + task.first * request.columns();
    TileWork(p, row_max, log_sum, request, task, first, TileScratch::carve(carver, p, requests)).run(stop);
  });
  return !stop.stop_requested();
}

}  // namespace headscope::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
