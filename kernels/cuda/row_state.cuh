#pragma once

#include "kernels/cuda/scores.cuh"

namespace headscope::cuda {

// What is known of a query row on its way over the keys, how parts of the keys are joined, and what is written in the
// end. Keys come in ascending order, so that the lowest of equal scores is argmax.

/// What earlier sums of weights must be multiplied by when the largest score rises: exp(-rise).
HEADSCOPE_DEVICE float shrinkage(float row_max, float raised) {
  return raised > row_max ? exp2_fast((row_max - raised) * log2_e) : 1.0F;
}

/// One query row after some keys. All sums are over keys j seen so far, of weights w_j = exp(s_j - row_max), s_j
/// relative to the query's position (score_of), and shrink when row_max grows. NaN among the scores makes `sum` NaN for
/// good. Plain data: states may lie in global memory.
struct RowState {
  float row_max = minus_infinity();
  int32_t argmax = -1;
  double sum = 0;      ///< w
  double cross = 0;    ///< w (s - row_max)
  double mean = 0;     ///< of j under w
  double scatter = 0;  ///< w (j - mean)^2
  double sink = 0;     ///< w of the first keys
  double window = 0;   ///< w of the keys just before the query

  /// Raises row_max to `peak` if that is larger; argmax is the caller's. Returns what sums kept elsewhere shrink by.
  HEADSCOPE_DEVICE float raise(float peak) {
    if (!(peak > row_max)) return 1;
    const float factor = shrinkage(row_max, peak);
    const double rise = double{peak} - double{row_max};
    cross = factor > 0 ? factor * (cross - rise * sum) : 0;  // every score is further below the maximum
    sum *= factor;
    scatter *= factor;
    sink *= factor;
    window *= factor;
    row_max = peak;
    return factor;
  }
};

/// Adds keys of weight `added`, their mean and their scatter about it. The two parts are joined by Chan, Golub and
/// LeVeque's update (1979); the difference of two raw moments would cancel at long distances.
HEADSCOPE_DEVICE void join_moments(RowState& state, double added, double mean, double scatter) {
  const double before = state.sum;
  state.sum += added;
  if (added == 0) return;
  const double share = added / state.sum, apart = mean - state.mean;
  state.scatter += scatter + apart * apart * (before * share);
  state.mean += apart * share;
}

/// What one tile of keys adds to a row: sums of at most a few dozen terms in f32.
struct TileSums {
  float sum = 0;      ///< w
  float cross = 0;    ///< w (s - row_max) log2 e
  float moment1 = 0;  ///< w (j - anchor)
  float moment2 = 0;  ///< w (j - anchor)^2
  float sink = 0;
  float window = 0;
};

/// Adds a tile whose weights are relative to the state's row_max. `anchor` is the key that moments count from.
HEADSCOPE_DEVICE void add(RowState& state, const TileSums& tile, int64_t anchor) {
  const double added = tile.sum, moment = tile.moment1;
  const double offset = added > 0 ? moment / added : 0;
  const double scatter = double{tile.moment2} - moment * offset;
  join_moments(state, added, static_cast<double>(anchor) + offset, scatter > 0 ? scatter : 0);
  state.cross += double{tile.cross} * ln_2;
  state.sink += double{tile.sink};
  state.window += double{tile.window};
}

/// What sums kept beside two joined states, as those of w v, are multiplied by before they are added.
struct JoinFactors {
  float earlier = 1, later = 1;
};

/// Adds the state of the same row over later keys.
HEADSCOPE_DEVICE JoinFactors join(RowState& state, RowState later) {
  if (later.row_max > state.row_max) state.argmax = later.argmax;
  JoinFactors factors;
  factors.earlier = state.raise(later.row_max);
  factors.later = later.raise(state.row_max);
  join_moments(state, later.sum, later.mean, later.scatter);
  state.cross += later.cross;
  state.sink += later.sink;
  state.window += later.window;
  return factors;
}

/// What sums of w v are multiplied by in the end; 0 for a row that saw nothing.
HEADSCOPE_DEVICE double inverse_sum(const RowState& state) { return state.sum == 0 ? 0 : 1 / state.sum; }

/// A score that counts ALiBi from key 0, as AttentionOutput::scores has it.
HEADSCOPE_DEVICE float absolute_score(const QueryRow& row, float score) {
  if (row.slope == 0) return score;
  return static_cast<float>(double{score} + double{row.slope} * static_cast<double>(row.position));
}

HEADSCOPE_DEVICE float* output_row(const Rows<float>& rows, int64_t batch, int64_t head, int64_t row) {
  return rows.data + batch * rows.batch_stride + head * rows.head_stride + row * rows.row_stride;
}

/// Writes row_max, log_sum and statistics of a row whose keys are all in; `out` and thumbnails are the caller's.
HEADSCOPE_DEVICE void write_row(const AttentionProblem& p, const AttentionOutput& output, int64_t batch,
                                const QueryRow& row, const RowState& state) {
  const bool empty = state.sum == 0;
  const double inverse = inverse_sum(state), log_sum = empty ? 0 : log(state.sum);
  const int64_t at = (batch * p.q_heads + row.head) * p.q_len + row.row;
  // Scores were taken relative to the query's position; the two floats must add up to the absolute one.
  const double row_max = double{state.row_max} + double{row.slope} * static_cast<double>(row.position);
  const auto rounded = static_cast<float>(row_max);
  if (output.row_max) output.row_max[at] = empty ? minus_infinity() : rounded;
  if (output.log_sum) output.log_sum[at] = empty ? 0.0F : static_cast<float>(log_sum + (row_max - double{rounded}));

  const RowStatistics& wanted = output.statistics;
  const auto write = [at, empty](float* to, double value) {
    if (to) to[at] = empty ? 0.0F : static_cast<float>(value);
  };
  const double entropy = log_sum - state.cross * inverse;
  write(wanted.entropy, entropy < 0 ? 0 : entropy);
  write(wanted.max, inverse);
  write(wanted.distance, static_cast<double>(row.position) - state.mean);
  write(wanted.distance_variance, state.scatter * inverse);
  write(wanted.sink, state.sink * inverse);
  write(wanted.window, state.window * inverse);
  if (wanted.argmax) wanted.argmax[at] = empty ? -1 : state.argmax;
}

}  // namespace headscope::cuda
