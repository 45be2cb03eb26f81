// Column masses, grids and distance histograms from known log-sum-exps, compiled once per vector target. A task owns
// some keys of one head and takes the rows that see them in their order, so that every sum belongs to one task.
#if defined(HEADSCOPE_MAP_STATISTICS_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_MAP_STATISTICS_INL
#undef HEADSCOPE_MAP_STATISTICS_INL
#else
#define HEADSCOPE_MAP_STATISTICS_INL
#endif

#include "kernels/cpu/cells-inl.h"
#include "kernels/cpu/half-inl.h"
#include "kernels/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::cpu::HWY_NAMESPACE {

/// Keys of one task, or those of the one cell that is longer.
inline constexpr int64_t map_task_keys = 1024;

/// The keys [begin, end) of a head; `end` may lie behind kv_len.
struct MapTask {
  int64_t batch, head;
  KeyRange keys;
};

/// How the keys of a head are cut into tasks, and these, and the rows, into pieces. Without cells to be pooled they are
/// cut as if there were some of a convenient size.
class MapPlan {
 public:
  MapPlan(const CpuProblem& p, const MapStatistics& wanted)
      : heads_(p.batch * p.q_heads),
        q_heads_(p.q_heads),
        key_bin_(wanted.wants_grid() ? wanted.bin : block_keys),
        row_bin_(wanted.wants_grid() && wanted.bin > 1 ? wanted.bin : group_rows),
        width_(std::max(key_bin_, map_task_keys / key_bin_ * key_bin_)),
        spans_((std::max(p.kv_len, wanted.wants_grid() ? wanted.cells * wanted.bin : 0) + width_ - 1) / width_) {}

  int64_t width() const { return width_; }  ///< keys of a task
  int64_t spans() const { return spans_; }  ///< tasks of a head

  CellCut key_pieces(const KeyRange& keys) const { return {keys.begin, key_bin_, block_keys}; }
  CellCut row_chunks() const { return {0, row_bin_, chunk_rows}; }                      ///< of positions
  CellCut row_groups() const { return {0, row_bin_, std::min(row_bin_, group_rows)}; }  ///< of positions

  /// Pieces of a task whose keys stay packed; 0 where they are too many.
  int64_t packed_pieces() const {
    int64_t count = 0;
    const CellCut pieces = key_pieces({0, width_});
    for (int64_t key = 0; key < width_ && width_ <= map_task_keys; key = pieces.piece(key).end) ++count;
    return count;
  }
  int64_t tasks() const { return heads_ * spans_; }

  /// The first keys come first: under a causal mask the most rows see them.
  MapTask task(int64_t index) const {
    const int64_t head = index % heads_, begin = index / heads_ * width_;
    return {head / q_heads_, head % q_heads_, {begin, begin + width_}};
  }

 private:
  int64_t heads_, q_heads_, key_bin_, row_bin_, width_, spans_;
};

struct MapScratch {
  ScoreBlock block;
  ColumnPool pool;
  float* keys;        ///< packed once a task, [pieces][block_keys / tile_width][packed_dim][tile_width]
  double* mass;       ///< [keys of the task + lanes]
  double* cell_sums;  ///< [rows of cells of a chunk][cells of the task], for bins above 1
  float* cell_peaks;  ///< the same
  double* histogram;  ///< [distance_buckets]

  static MapScratch carve(Carver& carver, const CpuProblem& p, const MapStatistics& wanted) {
    const MapPlan plan(p, wanted);
    MapScratch scratch{};
    scratch.block = ScoreBlock::carve(carver, p);
    scratch.pool = ColumnPool::carve(carver);
    scratch.keys = carver.take<float>(plan.packed_pieces() * block_keys * packed_dim(p));
    scratch.mass = carver.take<double>(plan.width() + lanes);
    const bool pooled = wanted.wants_grid() && wanted.bin > 1;
    const int64_t cells = pooled ? std::max<int64_t>(1, chunk_rows / wanted.bin) * (plan.width() / wanted.bin) : 0;
    scratch.cell_sums = carver.take<double>(cells);
    scratch.cell_peaks = carver.take<float>(cells);
    scratch.histogram = carver.take<double>(wanted.distance_buckets);
    return scratch;
  }
};

/// The columns of a head's grids that belong to a task, filled one chunk of rows after the other.
class GridPart {
 public:
  GridPart(const CpuProblem& p, const MapStatistics& wanted, const MapTask& task, const MapScratch& scratch)
      : p_(p), wanted_(wanted), scratch_(scratch) {
    if (!wanted.wants_grid()) return;
    first_column_ = task.keys.begin / wanted.bin;
    columns_ = std::clamp<int64_t>(wanted.cells - first_column_, 0, (task.keys.end - task.keys.begin) / wanted.bin);
    origin_ = (task.batch * p.q_heads + task.head) * wanted.cells * wanted.cells + first_column_;
  }

  /// Rows of cells that no row of the call belongs to are 0.
  void clear_rest() const {
    if (columns_ == 0) return;
    const int64_t begin = std::max<int64_t>(0, p_.causal_offset), end = p_.causal_offset + p_.q_len;
    for (int64_t r = 0; r < wanted_.cells; ++r) {
      if (begin < end && r >= begin / wanted_.bin && r * wanted_.bin < end) continue;
      clear(wanted_.grid_mean, r, 0, columns_);
      clear(wanted_.grid_max, r, 0, columns_);
    }
  }

  /// Positions [begin, end), whole rows of cells or a part of one, are next.
  void start(int64_t begin, int64_t end) {
    active_ = columns_ > 0 && begin >= 0 && begin < wanted_.cells * wanted_.bin;
    if (!active_) return;
    first_ = begin / wanted_.bin;
    rows_ = std::min((end - 1) / wanted_.bin + 1, wanted_.cells) - first_;
    end_ = end;
    const bool goes_on = begin % wanted_.bin != 0 && begin != p_.causal_offset;
    if (wanted_.bin == 1 || goes_on) return;
    std::fill_n(scratch_.cell_sums, rows_ * columns_, 0.0);
    std::fill_n(scratch_.cell_peaks, rows_ * columns_, minus_infinity);
  }

  bool active() const { return active_; }

  /// Takes the pool of rows of one row of cells, that of `position`; the block starts at column `offset` of the task.
  void add(int64_t position, int64_t offset, KeyRange span) const {
    if (position >= wanted_.cells * wanted_.bin) return;
    const int64_t cell = (position / wanted_.bin - first_) * columns_ + offset / wanted_.bin;
    const int64_t count = columns_ - offset / wanted_.bin;  // those beyond it are not recorded
    const ColumnPool& pool = scratch_.pool;
    if (wanted_.grid_mean) {
      fold_columns<SumOfColumns>(wanted_.bin, span, pool.sums, pool.windows, [&](int64_t i, float sum) {
        if (i < count) scratch_.cell_sums[cell + i] += double{sum};
      });
    }
    if (!wanted_.grid_max) return;
    fold_columns<PeakOfColumns>(wanted_.bin, span, pool.peaks, pool.windows, [&](int64_t i, float peak) {
      if (i < count && peak > scratch_.cell_peaks[cell + i]) scratch_.cell_peaks[cell + i] = peak;
    });
  }

  /// Cells of one place each: writes the weights of a row on columns [offset, offset + count) of the task.
  void write_weights(int64_t position, int64_t offset, int64_t count, const float* weights) const {
    if (position >= wanted_.cells) return;
    const int64_t stop = std::min(count, columns_ - offset);
    if (stop <= 0) return;
    if (wanted_.grid_mean) store_halves(weights, stop, at(wanted_.grid_mean, position, offset));
    if (wanted_.grid_max) store_halves(weights, stop, at(wanted_.grid_max, position, offset));
  }

  /// Cells of one place each that a row does not see.
  void clear_weights(int64_t position, int64_t begin, int64_t end) const {
    const int64_t stop = std::min(end, columns_);
    if (position >= wanted_.cells || begin >= stop) return;
    clear(wanted_.grid_mean, position, begin, stop);
    clear(wanted_.grid_max, position, begin, stop);
  }

  /// Writes the rows of cells that the chunk completes.
  void finish() const {
    if (!active_ || wanted_.bin == 1) return;
    if (end_ % wanted_.bin != 0 && end_ != p_.causal_offset + p_.q_len) return;
    for (int64_t r = 0; r < rows_; ++r) {
      if (wanted_.grid_mean) write_means(first_ + r, scratch_.cell_sums + r * columns_);
      if (wanted_.grid_max) write_peaks(first_ + r, scratch_.cell_peaks + r * columns_);
    }
  }

 private:
  uint16_t* at(uint16_t* grid, int64_t row, int64_t column) const {
    return grid + origin_ + row * wanted_.cells + column;
  }
  void clear(uint16_t* grid, int64_t row, int64_t begin, int64_t end) const {
    if (grid) std::fill_n(at(grid, row, begin), end - begin, uint16_t{0});
  }

  /// Places [cell * bin, ...) of a cell that lie in [begin, end).
  int64_t places(int64_t cell, int64_t begin, int64_t end) const {
    return std::min((cell + 1) * wanted_.bin, end) - std::max(cell * wanted_.bin, begin);
  }

  void write_means(int64_t row, const double* sums) const {
    HWY_ALIGN float means[lanes];
    const int64_t height = places(row, p_.causal_offset, p_.causal_offset + p_.q_len);
    const double factor = 1 / static_cast<double>(height * wanted_.bin);
    const int64_t cut = p_.kv_len / wanted_.bin - first_column_;  // the cell that the end of the keys cuts, if any
    for (int64_t first = 0; first < columns_; first += lanes) {
      const int64_t count = std::min(lanes, columns_ - first);
      for (int64_t i = 0; i < count; ++i) means[i] = static_cast<float>(sums[first + i] * factor);
      std::fill(means + count, means + lanes, 0.0F);
      if (cut >= first && cut < first + count && p_.kv_len % wanted_.bin > 0) {
        const int64_t area = height * (p_.kv_len % wanted_.bin);
        means[cut - first] = static_cast<float>(sums[cut] / static_cast<double>(area));
      }
      store_halves(means, count, at(wanted_.grid_mean, row, first));
    }
  }

  void write_peaks(int64_t row, const float* peaks) const {
    const F d;
    HWY_ALIGN float weights[lanes];
    for (int64_t first = 0; first < columns_; first += lanes) {
      const int64_t count = std::min(lanes, columns_ - first);
      std::fill(std::copy_n(peaks + first, count, weights), weights + lanes, minus_infinity);
      hn::Store(weight_of(hn::Load(d, weights)), d, weights);
      store_halves(weights, count, at(wanted_.grid_max, row, first));
    }
  }

  const CpuProblem& p_;
  const MapStatistics& wanted_;
  const MapScratch scratch_;
  int64_t first_column_ = 0, columns_ = 0, origin_ = 0;
  bool active_ = false;
  int64_t first_ = 0, rows_ = 0, end_ = 0;  ///< rows of cells of the chunk, and the position where it ends
};

class MapWork {
 public:
  MapWork(const CpuProblem& problem, const float* row_max, const float* log_sum, const MapStatistics& wanted,
          const MapTask& task, const MapScratch& scratch)
      : p_(problem),
        row_max_(row_max),
        log_sum_(log_sum),
        wanted_(wanted),
        task_(task),
        plan_(problem, wanted),
        scratch_(scratch),
        grid_(problem, wanted, task, scratch_) {}

  /// Writes what the task owns, but for its part of the histogram, which stays in the scratch. Stops early when asked.
  bool run(const std::stop_token& stop) {
    std::fill_n(scratch_.mass, plan_.width() + lanes, 0.0);
    std::fill_n(scratch_.histogram, wanted_.distance_buckets, 0.0);
    grid_.clear_rest();
    for (int64_t row = 0; row < p_.q_len;) {
      const int64_t position = row + p_.causal_offset;
      const int64_t end = std::min(plan_.row_chunks().piece(position).end - p_.causal_offset, p_.q_len);
      grid_.start(position, end + p_.causal_offset);
      if (!add_rows(row, end, stop)) return false;
      grid_.finish();
      row = end;
    }
    write_mass();
    return true;
  }

 private:
  KeyRange mine(int64_t row) const { return visible_keys(p_, row).intersect(task_.keys); }

  /// Whether the causal bound and the window leave any key of the task to rows [begin, end).
  bool may_see(int64_t begin, int64_t end) const {
    if (p_.causal && end - 1 + p_.causal_offset < task_.keys.begin) return false;
    return p_.window == 0 || begin + p_.causal_offset - p_.window + 1 < task_.keys.end;
  }

  bool add_rows(int64_t begin, int64_t end, const std::stop_token& stop) {
    if (wanted_.bin == 1 && grid_.active()) clear_unseen(begin, end);
    if (!may_see(begin, end)) return true;
    ScoreBlock& block = scratch_.block;
    block.count = end - begin;
    KeyRange all;
    for (int64_t slot = 0; slot < block.count; ++slot) {
      block.rows[slot] = query_row(p_, task_.head, begin + slot);
      all.unite(mine(begin + slot));
    }
    if (all.empty()) return true;
    pack_queries(p_, task_.batch, block.rows, block.count, block.queries);
    const CellCut cut = plan_.key_pieces(task_.keys);
    int64_t index = 0;
    for (KeyRange piece = cut.piece(task_.keys.begin); piece.begin < all.end; piece = cut.piece(piece.end), ++index) {
      if (stop.stop_requested()) return false;
      if (piece.end <= all.begin) continue;
      for (int64_t slot = 0; slot < block.count; ++slot) block.rows[slot].keys = mine(begin + slot).intersect(piece);
      block.start(piece.begin);
      multiply(index);
      add_block();
    }
    return true;
  }

  /// Scores of the rows against the piece of that index.
  void multiply(int64_t index) {
    ScoreBlock& block = scratch_.block;
    if (plan_.packed_pieces() == 0) return multiply_scores(p_, task_.batch, kv_head(), block);
    if (!packed_) pack();
    packed_ = true;
    block.keys = packed_keys(index);
    multiply_packed(p_, block);
  }
  int64_t kv_head() const { return task_.head / (p_.q_heads / p_.kv_heads); }
  float* packed_keys(int64_t index) const { return scratch_.keys + index * block_keys * packed_dim(p_); }

  void pack() const {
    const CellCut cut = plan_.key_pieces(task_.keys);
    for (int64_t index = 0, key = task_.keys.begin; key < std::min(task_.keys.end, p_.kv_len); ++index) {
      const KeyRange piece = cut.piece(key);
      if (piece.end > p_.first_key)
        pack_block(p_, task_.batch, kv_head(), key, {0, piece.end - key}, packed_keys(index));
      key = piece.end;
    }
  }

  /// Cells of one place each that add_block does not reach.
  void clear_unseen(int64_t begin, int64_t end) const {
    const int64_t width = task_.keys.end - task_.keys.begin;
    for (int64_t row = begin; row < end; ++row) {
      const KeyRange seen = mine(row);
      const int64_t position = row + p_.causal_offset;
      grid_.clear_weights(position, 0, seen.empty() ? width : seen.begin - task_.keys.begin);
      if (!seen.empty()) grid_.clear_weights(position, seen.end - task_.keys.begin, width);
    }
  }

  void add_block() {
    const ScoreBlock& block = scratch_.block;
    for (int64_t slot = 0; slot < block.count;) {
      const int64_t position = block.rows[slot].position;
      const int64_t end = std::min(block.count, slot + plan_.row_groups().piece(position).end - position);
      const KeyRange span = group_span(block, slot, end);
      if (!span.empty()) add_group(slot, end, span);
      slot = end;
    }
  }

  /// Adds rows [slot, end), of one row of cells if cells have several.
  void add_group(int64_t slot, int64_t end, KeyRange span) {
    const ScoreBlock& block = scratch_.block;
    const ColumnPool& pool = scratch_.pool;
    pool.clear();
    for (int64_t i = slot; i < end; ++i) {
      const int64_t at = (task_.batch * p_.q_heads + task_.head) * p_.q_len + block.rows[i].row;
      const KnownRow known(block.rows[i], row_max_[at], log_sum_[at]);
      if (wanted_.grid_max && wanted_.bin > 1) {
        add_row<Keep::sums_and_peaks>(p_, block, i, known, span, pool);
      } else {
        add_row<Keep::sums>(p_, block, i, known, span, pool);
      }
      add_weights(i);
    }
    const int64_t offset = block.first - task_.keys.begin;
    add_to_doubles(span, pool.sums, scratch_.mass + offset);
    if (grid_.active() && wanted_.bin > 1) grid_.add(block.rows[slot].position, offset, span);
  }

  /// What takes the weights of a row one by one.
  void add_weights(int64_t slot) const {
    const ScoreBlock& block = scratch_.block;
    const KeyRange seen = block.columns(slot);
    if (seen.empty()) return;
    const float* weights = block.row_scores(slot);
    const int64_t position = block.rows[slot].position;
    if (wanted_.distance_buckets > 0) add_distances(position - block.first, seen, weights);
    if (wanted_.bin != 1 || !grid_.active()) return;
    const int64_t begin = round_down(seen.begin, lanes);
    grid_.write_weights(position, block.first - task_.keys.begin + begin, seen.end - begin, weights + begin);
  }

  /// Adds the weights of columns `seen` of a row whose position is column `home`, which may lie outside the block.
  void add_distances(int64_t home, KeyRange seen, const float* weights) const {
    const int64_t last = wanted_.distance_buckets - 1;
    for (int64_t c = seen.begin; c < seen.end;) {
      const int64_t bucket = std::min(distance_bucket(std::abs(home - c)), last);
      int64_t stop = seen.end;
      if (c > home) {
        if (bucket < last) stop = std::min(stop, home + (int64_t{1} << bucket));
      } else {
        stop = std::min(stop, bucket == 0 ? c + 1 : home - (int64_t{1} << (bucket - 1)) + 1);
      }
      scratch_.histogram[bucket] += double{sum_range(weights, c, stop)};
      c = stop;
    }
  }

  void write_mass() const {
    if (!wanted_.column_mass) return;
    float* mass = wanted_.column_mass + (task_.batch * p_.q_heads + task_.head) * p_.kv_len;
    for (int64_t key = task_.keys.begin; key < std::min(task_.keys.end, p_.kv_len); ++key) {
      mass[key] = static_cast<float>(scratch_.mass[key - task_.keys.begin]);
    }
  }

  const CpuProblem& p_;
  const float* row_max_;
  const float* log_sum_;
  const MapStatistics& wanted_;
  const MapTask task_;
  const MapPlan plan_;
  MapScratch scratch_;
  GridPart grid_;
  bool packed_ = false;
};

/// The workspace: each worker's scratch, then the histograms of all tasks.
inline size_t map_worker_bytes(const CpuProblem& p, const MapStatistics& wanted) {
  Carver carver;
  MapScratch::carve(carver, p, wanted);
  return carver.bytes();
}

inline size_t map_statistics_workspace(const CpuProblem& p, const MapStatistics& wanted, int workers) {
  Carver histograms;
  histograms.take<double>(MapPlan(p, wanted).tasks() * wanted.distance_buckets);
  return map_worker_bytes(p, wanted) * static_cast<size_t>(workers) + histograms.bytes();
}

/// Adds up the histograms [spans][heads][distance_buckets] of the tasks.
inline void write_histograms(const CpuProblem& p, const MapStatistics& wanted, const double* parts) {
  if (!wanted.distance_histogram) return;
  const int64_t count = p.batch * p.q_heads * wanted.distance_buckets, spans = MapPlan(p, wanted).spans();
  for (int64_t i = 0; i < count; ++i) {
    double sum = 0;
    for (int64_t span = 0; span < spans; ++span) sum += parts[span * count + i];
    wanted.distance_histogram[i] = static_cast<float>(sum);
  }
}

inline bool map_statistics(const CpuProblem& p, const float* row_max, const float* log_sum, const MapStatistics& asked,
                           std::span<std::byte> workspace, const ParallelFor& parallel, std::stop_token stop) {
  MapStatistics wanted = asked;
  if (!wanted.distance_histogram) wanted.distance_buckets = 0;
  const MapPlan plan(p, wanted);
  const size_t worker_bytes = map_worker_bytes(p, wanted);
  auto* histograms =
      reinterpret_cast<double*>(workspace.data() + worker_bytes * static_cast<size_t>(parallel.workers()));
  parallel.run(plan.tasks(), [&](int64_t index, int worker) {
    Carver carver(workspace.data() + static_cast<size_t>(worker) * worker_bytes);
    const MapScratch scratch = MapScratch::carve(carver, p, wanted);
    if (stop.stop_requested()) return;
    if (!MapWork(p, row_max, log_sum, wanted, plan.task(index), scratch).run(stop)) return;
    std::copy_n(scratch.histogram, wanted.distance_buckets, histograms + index * wanted.distance_buckets);
  });
  if (stop.stop_requested()) return false;
  write_histograms(p, wanted, histograms);
  return true;
}

}  // namespace headscope::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
