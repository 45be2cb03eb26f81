// Any rectangle of one head's map at any zoom, compiled once per vector target.
#if defined(HEADSCOPE_TILE_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_TILE_INL
#undef HEADSCOPE_TILE_INL
#else
#define HEADSCOPE_TILE_INL
#endif

#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/cpu/row_shift-inl.h"
#include "kernels/cpu/scores-inl.h"
#include "kernels/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::cpu::HWY_NAMESPACE {

/// Rows of cells that one task fills.
HWY_INLINE int64_t cell_rows(const TileRequest& request) {
  return request.bin >= task_rows ? 1 : task_rows / request.bin;
}

struct TileScratch {
  ScoreBlock block;
  double* sums;  ///< [cell_rows][columns], for the mean

  static TileScratch carve(Carver& carver, const AttentionProblem& p, const TileRequest& request) {
    TileScratch scratch{};
    scratch.block = ScoreBlock::carve(carver, p.key_dim);
    const bool mean = request.pooling == Pooling::mean && request.bin > 1;
    scratch.sums = carver.take<double>(mean ? cell_rows(request) * request.columns() : 0);
    return scratch;
  }
};

class TileTask {
 public:
  TileTask(const AttentionProblem& problem, const float* row_max, const float* log_sum, const TileRequest& request,
           float* cells, const TileScratch& scratch)
      : p_(problem),
        row_max_(row_max),
        log_sum_(log_sum),
        request_(request),
        cells_(cells),
        scratch_(scratch),
        mean_(request.pooling == Pooling::mean && request.bin > 1) {}

  /// Fills the rows of cells [first, first + count); stops early when asked to.
  void run(int64_t first, int64_t count, const std::stop_token& stop) {
    first_cell_row_ = first;
    const int64_t columns = request_.columns();
    std::fill_n(cells_ + first * columns, count * columns, 0.0F);
    if (mean_) std::fill_n(scratch_.sums, count * columns, 0.0);
    const int64_t begin = request_.row_begin + first * request_.bin;
    const int64_t end = std::min(begin + count * request_.bin, request_.row_end);
    for (int64_t row = begin; row < end; row += task_rows) {
      if (!add_rows(row, std::min(row + task_rows, end), stop)) return;
    }
    if (mean_) write_means(count);
  }

 private:
  bool add_rows(int64_t begin, int64_t end, const std::stop_token& stop) {
    ScoreBlock& block = scratch_.block;
    block.count = end - begin;
    KeyRange all;
    const KeyRange asked{request_.key_begin, request_.key_end};
    for (int64_t slot = 0; slot < block.count; ++slot) {
      QueryRow& row = block.rows[slot] = query_row(p_, request_.q_head, begin + slot);
      row.keys = row.keys.intersect(asked);
      all.unite(row.keys);
    }
    pack_queries(p_, request_.batch, block.rows, block.count, block.queries);
    const float* keys = p_.k.row(request_.batch, request_.q_head / (p_.q_heads / p_.kv_heads), 0);
    for (int64_t first = round_down(all.begin, block_keys); first < all.end; first += block_keys) {
      if (stop.stop_requested()) return false;
      block.start(first);
      multiply_scores(p_, keys, block);
      for (int64_t slot = 0; slot < block.count; ++slot) add_row(slot);
    }
    return true;
  }

  void add_row(int64_t slot) {
    const ScoreBlock& block = scratch_.block;
    const QueryRow& row = block.rows[slot];
    const KeyRange seen = block.columns(slot);
    const int64_t at = (request_.batch * p_.q_heads + request_.q_head) * p_.q_len + row.row;
    if (seen.empty()) return;
    if (std::isnan(row_max_[at]) || std::isnan(log_sum_[at])) return spoil(row, seen);
    if (row_max_[at] == minus_infinity) return;
    float* weights = block.row_scores(slot);
    const ScoreTerms terms(p_, block, row);
    finish_scores(terms, seen, seen, weights);
    weigh(row, row_max_[at], log_sum_[at], seen, weights);
    pool(row, seen, weights);
  }

  /// exp(score - row_max - log_sum).
  static void weigh(const QueryRow& row, float row_max, float log_sum, KeyRange seen, float* scores) {
    const F d;
    const RowShift shift(row, row_max, log_sum);
    for (int64_t c = round_down(seen.begin, lanes); c < seen.end; c += lanes) {
      hn::Store(exp_negative(shift.below(hn::Load(d, scores + c))), d, scores + c);
    }
  }

  /// A row whose log-sum-exp is NaN has no weights: NaN in every cell that holds a key it sees.
  void spoil(const QueryRow& row, KeyRange seen) {
    constexpr float nan = std::numeric_limits<float>::quiet_NaN();
    const int64_t cell_row = cell_row_of(row), columns = request_.columns();
    for (int64_t key = scratch_.block.first + seen.begin; key < scratch_.block.first + seen.end; ++key) {
      if (!row.sees(key)) continue;
      const int64_t cell = (key - request_.key_begin) / request_.bin;
      cells_[cell_row * columns + cell] = nan;
      if (mean_) scratch_.sums[(cell_row - first_cell_row_) * columns + cell] = double{nan};
    }
  }

  int64_t cell_row_of(const QueryRow& row) const { return (row.row - request_.row_begin) / request_.bin; }

  void pool(const QueryRow& row, KeyRange seen, const float* weights) {
    const int64_t block_first = scratch_.block.first;
    const int64_t cell_row = cell_row_of(row), columns = request_.columns();
    float* cells = cells_ + cell_row * columns;
    for (int64_t c = seen.begin; c < seen.end;) {
      const int64_t cell = (block_first + c - request_.key_begin) / request_.bin;
      const int64_t stop = std::min(seen.end, request_.key_begin + (cell + 1) * request_.bin - block_first);
      if (mean_) {
        scratch_.sums[(cell_row - first_cell_row_) * columns + cell] += double{sum_range(weights, c, stop)};
      } else {
        cells[cell] = max_range(weights, c, stop, cells[cell]);
      }
      c = stop;
    }
  }

  void write_means(int64_t count) {
    const int64_t columns = request_.columns();
    for (int64_t r = 0; r < count; ++r) {
      const int64_t row = request_.row_begin + (first_cell_row_ + r) * request_.bin;
      const int64_t height = std::min(request_.bin, request_.row_end - row);
      for (int64_t c = 0; c < columns; ++c) {
        const int64_t width = std::min(request_.bin, request_.key_end - request_.key_begin - c * request_.bin);
        cells_[(first_cell_row_ + r) * columns + c] =
            static_cast<float>(scratch_.sums[r * columns + c] / static_cast<double>(height * width));
      }
    }
  }

  const AttentionProblem& p_;
  const float* row_max_;
  const float* log_sum_;
  const TileRequest& request_;
  float* cells_;
  TileScratch scratch_;
  const bool mean_;  ///< a mean of one place is that place, and takes the shorter way
  int64_t first_cell_row_ = 0;
};

inline size_t tile_workspace(const AttentionProblem& p, const TileRequest& request, int workers) {
  Carver carver;
  TileScratch::carve(carver, p, request);
  return carver.bytes() * static_cast<size_t>(workers);
}

inline bool tile(const AttentionProblem& p, const float* row_max, const float* log_sum, const TileRequest& request,
                 float* cells, std::span<std::byte> workspace, const ParallelFor& parallel, std::stop_token stop) {
  const size_t worker_bytes = tile_workspace(p, request, 1);
  const int64_t rows = request.rows(), step = cell_rows(request);
  parallel.run((rows + step - 1) / step, [&](int64_t task, int worker) {
    if (stop.stop_requested()) return;
    Carver carver(workspace.data() + static_cast<size_t>(worker) * worker_bytes);
    TileTask work(p, row_max, log_sum, request, cells, TileScratch::carve(carver, p, request));
    work.run(task * step, std::min(step, rows - task * step), stop);
  });
  return !stop.stop_requested();
}

}  // namespace headscope::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
