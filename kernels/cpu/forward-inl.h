// The forward pass, compiled once per vector target: an online softmax over blocks of keys that keeps every row
// statistic up to date as it goes.
#if defined(HEADSCOPE_FORWARD_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_FORWARD_INL
#undef HEADSCOPE_FORWARD_INL
#else
#define HEADSCOPE_FORWARD_INL
#endif

#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "kernels/atomic_max.h"
#include "kernels/cpu/scores-inl.h"
#include "kernels/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::cpu::HWY_NAMESPACE {

/// What is known of a row after some blocks. All sums are over keys j seen so far, of weights
/// w_j = exp(s_j - row_max), and shrink by exp(old row_max - row_max) when the maximum grows.
struct RowState {
  float row_max = minus_infinity;
  int64_t argmax = -1;
  double sum = 0;      ///< w
  double cross = 0;    ///< w (s - row_max)
  double mean = 0;     ///< of j under w
  double scatter = 0;  ///< w (j - mean)^2
  double sink = 0;     ///< w of the first keys
  double window = 0;   ///< w of the keys just before the query
};

/// Sums over one block, in f32: at most block_keys terms in `lanes` partial sums. Moments count columns from the
/// peak of the row, so that a sharp row keeps its digits.
struct BlockSums {
  float sum = 0, cross = 0, moment1 = 0, moment2 = 0;
};

struct ForwardScratch {
  ScoreBlock block;
  float* values;      ///< packed, [padded_values][block_keys] in panels
  float* out;         ///< [task_rows][padded_values], sums of w v
  float* factors;     ///< [task_rows], the shrinkage of this block
  RowState* states;   ///< [task_rows]
  float* bin_scores;  ///< [task_rows][Thumbnails::max_cells], largest score of each key bin
  int32_t* bad_keys;  ///< [block_keys], columns of the block whose values hold inf or NaN
  int64_t bad_count;

  static ForwardScratch carve(Carver& carver, const AttentionProblem& p) {
    ForwardScratch scratch{};
    const int64_t padded = padded_values(p.value_dim);
    scratch.block = ScoreBlock::carve(carver, p.key_dim);
    scratch.values = carver.take<float>(padded * block_keys);
    scratch.out = carver.take<float>(task_rows * padded);
    scratch.factors = carver.take<float>(task_rows);
    scratch.states = carver.take<RowState>(task_rows);
    scratch.bin_scores = carver.take<float>(task_rows * Thumbnails::max_cells);
    scratch.bad_keys = carver.take<int32_t>(block_keys);
    return scratch;
  }
};

class ForwardTask {
 public:
  ForwardTask(const AttentionProblem& problem, const AttentionOutput& output, const Task& task,
              const ForwardScratch& scratch)
      : p_(problem),
        output_(output),
        task_(task),
        scratch_(scratch),
        padded_(padded_values(problem.value_dim)),
        bin_stride_(round_up(output.thumbnails.cells, lanes)),
        statistics_(output.statistics.entropy || output.statistics.distance || output.statistics.distance_variance) {}

  void run() {
    start();
    KeyRange all;
    for (int64_t slot = 0; slot < block().count; ++slot) all.unite(block().rows[slot].keys);
    const float* keys = p_.k.row(task_.batch, task_.kv_head, 0);
    for (int64_t first = round_down(all.begin, block_keys); first < all.end; first += block_keys) {
      block().start(first);
      multiply_scores(p_, keys, block());
      for (int64_t slot = 0; slot < block().count; slot += panel_rows) softmax_panel(slot);
      if (output_.out.data) add_values();
    }
    for (int64_t slot = 0; slot < block().count; ++slot) finish(slot);
    if (output_.thumbnails.max) raise_thumbnails();
  }

 private:
  ScoreBlock& block() { return scratch_.block; }
  int64_t flat(const QueryRow& row) const { return (task_.batch * p_.q_heads + row.head) * p_.q_len + row.row; }

  void start() {
    block().count = task_.count();
    for (int64_t slot = 0; slot < block().count; ++slot) {
      block().rows[slot] = query_row(p_, task_.first_head + slot / task_.rows, task_.first_row + slot % task_.rows);
      scratch_.states[slot] = RowState{};
    }
    pack_queries(p_, task_.batch, block().rows, block().count, block().queries);
    std::fill_n(scratch_.out, round_up(block().count, panel_rows) * padded_, 0.0F);
    if (output_.thumbnails.max) std::fill_n(scratch_.bin_scores, block().count * bin_stride_, minus_infinity);
  }

  /// Scores of a panel -> weights, in place, and the state of its rows.
  void softmax_panel(int64_t slot) {
    const int64_t rows = rows_in_panel(block(), slot);
    const KeyRange span = block().span(slot);
    if (span.empty()) return;
    for (int64_t i = slot; i < slot + rows; ++i) {
      float* scores = block().row_scores(i);
      const KeyRange seen = block().columns(i);
      const Peak peak = finish_scores(ScoreTerms(p_, block(), block().rows[i]), seen, span, scores);
      if (output_.thumbnails.max) note_bins(i, seen, scores);
      const Shrinkage shrinkage = raise_maximum(scratch_.states[i], peak);
      scratch_.factors[i] = shrinkage.factor;
      if (statistics_) {
        merge(scratch_.states[i], weigh<true>(scratch_.states[i].row_max, span, peak.column, scores), peak, shrinkage);
      } else {
        merge(scratch_.states[i], weigh<false>(scratch_.states[i].row_max, span, peak.column, scores), peak, shrinkage);
      }
      add_ranges(i, seen, scores);
    }
  }

  /// What the sums of a row shrink by because its maximum rose by `rise`.
  struct Shrinkage {
    float factor = 1;
    float rise = 0;
  };

  Shrinkage raise_maximum(RowState& state, const Peak& peak) const {
    if (!(peak.score > state.row_max)) return {};
    const float rise = peak.score - state.row_max, factor = exp_negative(-rise);
    state.row_max = peak.score;
    state.argmax = block_first() + peak.column;
    return {factor, factor > 0 ? rise : 0};
  }
  int64_t block_first() const { return scratch_.block.first; }
  /// The value of a column of the block.
  const float* value_row(int64_t column) const {
    return p_.v.row(task_.batch, task_.kv_head, block_first() + column - p_.first_key);
  }

  template <bool kStatistics>
  static BlockSums weigh(float row_max, KeyRange span, int64_t anchor, float* scores) {
    const F d;
    // A row that has seen no score yet subtracts 0: -inf stays a weight of 0 and NaN stays NaN.
    const V shift = hn::Set(d, row_max == minus_infinity ? 0.0F : row_max);
    V sum = hn::Zero(d), cross = hn::Zero(d), moment1 = hn::Zero(d), moment2 = hn::Zero(d);
    const int64_t begin = round_down(span.begin, lanes);
    V offset = hn::Iota(d, static_cast<float>(begin - anchor));
    for (int64_t c = begin; c < span.end; c += lanes) {
      const V x = hn::Sub(hn::Load(d, scores + c), shift);
      const V w = exp_negative(x);
      hn::Store(w, d, scores + c);
      sum = hn::Add(sum, w);
      if constexpr (kStatistics) {
        const V finite = hn::IfThenElse(hn::Lt(x, hn::Set(d, exp_cut)), hn::Zero(d), x);
        cross = hn::MulAdd(w, finite, cross);
        const V moment = hn::Mul(w, offset);
        moment1 = hn::Add(moment1, moment);
        moment2 = hn::MulAdd(moment, offset, moment2);
        offset = hn::Add(offset, hn::Set(d, static_cast<float>(lanes)));
      }
    }
    BlockSums sums;
    sums.sum = hn::GetLane(hn::SumOfLanes(d, sum));
    if constexpr (kStatistics) {
      sums.cross = hn::GetLane(hn::SumOfLanes(d, cross));
      sums.moment1 = hn::GetLane(hn::SumOfLanes(d, moment1));
      sums.moment2 = hn::GetLane(hn::SumOfLanes(d, moment2));
    }
    return sums;
  }

  /// Adds a block to a row. Mean and scatter of the two parts are joined by Chan, Golub and LeVeque's update
  /// (1979); the difference of two raw moments would cancel at long distances.
  void merge(RowState& state, const BlockSums& sums, const Peak& peak, Shrinkage shrinkage) const {
    const double shrink = shrinkage.factor, before = state.sum * shrink, added = sums.sum;
    // Every earlier score is `rise` further below the new maximum: the cross term.
    state.cross = shrink * (state.cross - double{shrinkage.rise} * state.sum) + double{sums.cross};
    state.sum = before + added;
    state.scatter *= shrink;
    state.sink *= shrink;
    state.window *= shrink;
    if (added == 0) return;
    const double offset = sums.moment1 / added;
    const double scatter = std::max(0.0, sums.moment2 - sums.moment1 * offset);
    const double mean = static_cast<double>(block_first() + peak.column) + offset;
    const double apart = mean - state.mean;
    state.mean += apart * added / state.sum;
    state.scatter += scatter + apart * apart * before * added / state.sum;
  }

  void add_ranges(int64_t slot, KeyRange seen, const float* weights) const {
    RowState& state = scratch_.states[slot];
    const RowStatistics& wanted = output_.statistics;
    const auto add = [&](double& to, KeyRange keys) HWY_ATTR {
      const KeyRange part = keys.within_block(block_first()).intersect(seen);
      if (!part.empty()) to += sum_range(weights, part.begin, part.end);
    };
    const int64_t position = scratch_.block.rows[slot].position;
    if (wanted.sink) add(state.sink, {0, wanted.sink_tokens});
    if (wanted.window) add(state.window, {position - wanted.window_tokens + 1, position + 1});
  }

  /// Keeps the largest score of each key bin of the thumbnail.
  void note_bins(int64_t slot, KeyRange seen, const float* scores) const {
    const Thumbnails& wanted = output_.thumbnails;
    const int64_t recorded = wanted.cells * wanted.bin, position = scratch_.block.rows[slot].position;
    if (position < 0 || position >= recorded) return;
    const int64_t begin = block_first() + seen.begin, end = std::min(block_first() + seen.end, recorded);
    float* bins = scratch_.bin_scores + slot * bin_stride_;
    for (int64_t key = begin; key < end;) {
      const int64_t bin = key / wanted.bin, stop = std::min(end, (bin + 1) * wanted.bin);
      bins[bin] = max_range(scores, key - block_first(), stop - block_first(), bins[bin]);
      key = stop;
    }
  }

  // --- values ------------------------------------------------------------------------------------------------

  void add_values() {
    const KeyRange all = block().all;
    if (all.empty()) return;
    scratch_.bad_count = 0;
    for (int64_t c = all.begin; c < all.end; ++c) {
      const float* value = value_row(c);
      if (pack_value_row(value, p_.value_dim, c, scratch_.values)) continue;
      clear_value_row(p_.value_dim, c, scratch_.values);
      scratch_.bad_keys[scratch_.bad_count++] = static_cast<int32_t>(c);
    }
    for (int64_t first = 0; first < padded_; first += tile_width) {
      const int64_t vectors = panel_vectors(padded_, first);
      const float* values = scratch_.values + first * block_keys;
      for (int64_t slot = 0; slot < block().count; slot += panel_rows) {
        const int64_t rows = rows_in_panel(block(), slot);
        const KeyRange seen = block().span(slot);
        if (seen.empty()) continue;
        multiply_panel<WeightLayout>(vectors, rows, block().row_scores(slot) + seen.begin,
                                     values + seen.begin * vectors * lanes, seen.end - seen.begin,
                                     scratch_.factors + slot, scratch_.out + slot * padded_ + first, padded_);
      }
    }
    if (scratch_.bad_count > 0) add_bad_values();
  }

  /// Values that hold inf or NaN reach only the rows that see them: in the product above, a weight of 0 would
  /// carry NaN into rows that do not.
  void add_bad_values() {
    for (int64_t i = 0; i < scratch_.bad_count; ++i) {
      const int64_t c = scratch_.bad_keys[i];
      const float* value = value_row(c);
      for (int64_t slot = 0; slot < block().count; ++slot) {
        const QueryRow& row = block().rows[slot];
        const KeyRange seen = block().columns(slot);
        if (c < seen.begin || c >= seen.end || !row.sees(block_first() + c)) continue;
        const float weight = block().row_scores(slot)[c];
        for (int64_t d = 0; d < p_.value_dim; ++d) scratch_.out[slot * padded_ + d] += weight * value[d];
      }
    }
  }

  // --- results -----------------------------------------------------------------------------------------------

  void finish(int64_t slot) {
    const QueryRow& row = block().rows[slot];
    const RowState& state = scratch_.states[slot];
    const bool empty = state.sum == 0;
    const double inverse = empty ? 0 : 1 / state.sum;
    if (output_.out.data) {
      float* out = output_.out.row(task_.batch, row.head, row.row);
      for (int64_t d = 0; d < p_.value_dim; ++d)
        out[d] = scratch_.out[slot * padded_ + d] * static_cast<float>(inverse);
    }
    const int64_t at = flat(row);
    // Scores were taken relative to the query's position; the two floats must add up to the absolute one.
    const double row_max = double{state.row_max} + double{row.slope} * static_cast<double>(row.position);
    const auto rounded = static_cast<float>(row_max);
    if (output_.row_max) output_.row_max[at] = empty ? minus_infinity : rounded;
    if (output_.log_sum) {
      output_.log_sum[at] = empty ? 0.0F : static_cast<float>(std::log(state.sum) + (row_max - double{rounded}));
    }
    write_statistics(at, row, state, inverse, empty);
  }

  void write_statistics(int64_t at, const QueryRow& row, const RowState& state, double inverse, bool empty) const {
    const RowStatistics& wanted = output_.statistics;
    const auto write = [at, empty](float* to, double value) {
      if (to) to[at] = empty ? 0.0F : static_cast<float>(value);
    };
    const double entropy = std::log(state.sum) - state.cross * inverse;
    write(wanted.entropy, entropy < 0 ? 0 : entropy);
    write(wanted.max, inverse);
    write(wanted.distance, static_cast<double>(row.position) - state.mean);
    write(wanted.distance_variance, state.scatter * inverse);
    write(wanted.sink, state.sink * inverse);
    write(wanted.window, state.window * inverse);
    if (wanted.argmax) wanted.argmax[at] = empty ? -1 : static_cast<int32_t>(state.argmax);
  }

  /// Row of cells that a query row belongs to, counted over all heads; -1 where it is not recorded.
  int64_t thumbnail_row(int64_t slot) {
    const Thumbnails& wanted = output_.thumbnails;
    const QueryRow& row = block().rows[slot];
    if (row.position < 0 || row.position >= wanted.cells * wanted.bin) return -1;
    return (task_.batch * p_.q_heads + row.head) * wanted.cells + row.position / wanted.bin;
  }

  /// Largest scores of a row -> weights. A row whose sum is NaN has NaN in every bin that holds a key it sees.
  void weigh_bins(int64_t slot) {
    const F d;
    const RowState& state = scratch_.states[slot];
    const int64_t cells = output_.thumbnails.cells;
    float* bins = scratch_.bin_scores + slot * bin_stride_;
    if (std::isnan(state.sum)) {
      const QueryRow& row = block().rows[slot];
      std::fill_n(bins, bin_stride_, 0.0F);
      const int64_t end = std::min(row.keys.end, cells * output_.thumbnails.bin);
      for (int64_t key = row.keys.begin; key < end; ++key) {
        if (row.sees(key)) bins[key / output_.thumbnails.bin] = std::numeric_limits<float>::quiet_NaN();
      }
      return;
    }
    const V shift = hn::Set(d, state.sum == 0 ? 0.0F : state.row_max);
    const V inverse = hn::Set(d, state.sum == 0 ? 0.0F : static_cast<float>(1 / state.sum));
    for (int64_t c = 0; c < cells; c += lanes) {
      hn::Store(hn::Mul(exp_negative(hn::Sub(hn::Load(d, bins + c), shift)), inverse), d, bins + c);
    }
  }

  /// Rows of the same cells are joined first, then raise the shared map once.
  void raise_thumbnails() {
    const Thumbnails& wanted = output_.thumbnails;
    const F d;
    for (int64_t slot = 0; slot < block().count; ++slot) {
      const int64_t cell_row = thumbnail_row(slot);
      if (cell_row < 0) continue;
      weigh_bins(slot);
      float* bins = scratch_.bin_scores + slot * bin_stride_;
      if (slot > 0 && thumbnail_row(slot - 1) == cell_row) {
        for (int64_t c = 0; c < wanted.cells; c += lanes) {
          hn::Store(larger(hn::Load(d, bins - bin_stride_ + c), hn::Load(d, bins + c)), d, bins + c);
        }
      }
      if (slot + 1 < block().count && thumbnail_row(slot + 1) == cell_row) continue;
      for (int64_t c = 0; c < wanted.cells; ++c) raise_cell(wanted.max + cell_row * wanted.cells + c, bins[c]);
    }
  }

  const AttentionProblem& p_;
  const AttentionOutput& output_;
  const Task task_;
  ForwardScratch scratch_;
  const int64_t padded_;
  const int64_t bin_stride_;
  const bool statistics_;  ///< those that need a term for every key
};

inline size_t forward_workspace(const AttentionProblem& p, int workers) {
  Carver carver;
  ForwardScratch::carve(carver, p);
  return carver.bytes() * static_cast<size_t>(workers);
}

inline void forward(const AttentionProblem& p, const AttentionOutput& output, std::span<std::byte> workspace,
                    const ParallelFor& parallel) {
  if (output.thumbnails.max && output.thumbnails.cells > Thumbnails::max_cells) {
    throw std::invalid_argument("a thumbnail has more cells than a kernel has scratch for");
  }
  if (p.q_len == 0) return;
  const ForwardPlan plan(p);
  const size_t worker_bytes = forward_workspace(p, 1);
  parallel.run(plan.tasks(), [&](int64_t index, int worker) {
    Carver carver(workspace.data() + static_cast<size_t>(worker) * worker_bytes);
    ForwardTask(p, output, plan.task(index), ForwardScratch::carve(carver, p)).run();
  });
}

}  // namespace headscope::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
