#pragma once

#include "kernels/cuda/few_rows_tile.cuh"
#include "kernels/cuda/softmax.cuh"

namespace headscope::cuda {

// The online softmax where warps share a tile: scores lie in shared memory, and kLanes neighbouring threads look after
// one row. All of them hold the same state of it.

template <int kLanes>
HEADSCOPE_DEVICE float sum_of_row(float value) {
  HEADSCOPE_UNROLL
  for (int mask = 1; mask < kLanes; mask *= 2) value += shuffle_xor(value, mask);
  return value;
}
template <int kLanes>
HEADSCOPE_DEVICE float max_of_row(float value) {
  HEADSCOPE_UNROLL
  for (int mask = 1; mask < kLanes; mask *= 2) value = fmaxf(value, shuffle_xor(value, mask));
  return value;
}
template <int kLanes>
HEADSCOPE_DEVICE int min_of_row(int value) {
  HEADSCOPE_UNROLL
  for (int mask = 1; mask < kLanes; mask *= 2) {
    const int other = shuffle_xor(value, mask);
    value = other < value ? other : value;
  }
  return value;
}

/// A thread's part of one row of a tile: scores, later weights, of columns column(i) and the next.
template <int kLanes>
struct LaneScores {
  static constexpr int pairs = most_tile_keys / 2 / kLanes;
  float s[pairs][2];

  HEADSCOPE_DEVICE static int column(int pair) { return 2 * (pair * kLanes + thread_index() % kLanes); }

  /// From dots of a tile that starts at key `first`, which become scores in their place; -inf behind its end. Returns
  /// whether a key of it is not seen.
  HEADSCOPE_DEVICE bool take(const AttentionProblem& p, const QueryRow& row, float* dots, int64_t first,
                             int tile_keys) {
    bool unseen = false;
    for (int at = column(0); at < tile_keys; at += at % 2 == 0 ? 1 : 2 * kLanes - 1) {
      dots[at] = score_of(p, row, dots[at], first + at);
      unseen = unseen || dots[at] == minus_infinity();
    }
    HEADSCOPE_UNROLL
    for (int i = 0; i < 2 * pairs; ++i) {
      const int at = column(i / 2) + i % 2;
      s[i / 2][i % 2] = at < tile_keys ? dots[at] : minus_infinity();
    }
    return unseen;
  }

  HEADSCOPE_DEVICE float peak() const {
    float largest = minus_infinity();
    HEADSCOPE_UNROLL
    for (int i = 0; i < 2 * pairs; ++i) largest = fmaxf(largest, s[i / 2][i % 2]);
    return max_of_row<kLanes>(largest);
  }
  /// The first column that holds `score`.
  HEADSCOPE_DEVICE int column_of(float score) const {
    int first = most_tile_keys;
    HEADSCOPE_UNROLL
    for (int i = 2 * pairs - 1; i >= 0; --i) {
      if (s[i / 2][i % 2] == score) first = column(i / 2) + i % 2;
    }
    return min_of_row<kLanes>(first);
  }

  /// Scores become weights. Returns their sums over the thread's columns.
  HEADSCOPE_DEVICE TileSums weigh(float row_max, int anchor, bool moments) {
    // A row that has seen no score yet subtracts 0: -inf stays a weight of 0 and NaN stays NaN.
    const float shift = row_max == minus_infinity() ? 0.0F : row_max;
    TileSums sums;
    HEADSCOPE_UNROLL
    for (int i = 0; i < 2 * pairs; ++i) {
      float& weight = s[i / 2][i % 2];
      const float x = (weight - shift) * log2_e;
      weight = exp2_fast(x);
      sums.sum += weight;
      if (!moments) continue;
      constexpr float cut = -127;  // where the weight is 0: 0 times -inf would be NaN
      sums.cross += weight * fmaxf(x, cut);
      const float offset = static_cast<float>(column(i / 2) + i % 2 - anchor), moment = weight * offset;
      sums.moment1 += moment;
      sums.moment2 += moment * offset;
    }
    return sums;
  }

  HEADSCOPE_DEVICE float sum_in(ColumnRange range) const {
    float sum = 0;
    HEADSCOPE_UNROLL
    for (int i = 0; i < 2 * pairs; ++i) {
      if (range.holds(column(i / 2) + i % 2)) sum += s[i / 2][i % 2];
    }
    return sum;
  }

  /// Writes the weights where the scores came from.
  HEADSCOPE_DEVICE void store(float* weights, int tile_keys) const {
    HEADSCOPE_UNROLL
    for (int i = 0; i < 2 * pairs; ++i) {
      const int at = column(i / 2) + i % 2;
      if (at < tile_keys) weights[at] = s[i / 2][i % 2];
    }
  }

  /// Writes the weights as row `index` of the left factor.
  template <int kPlanes>
  HEADSCOPE_DEVICE void write(const SharedPlanes& weights, int index) const {
    HEADSCOPE_UNROLL
    for (int pair = 0; pair < pairs; ++pair) {
      if (column(pair) >= weights.dim) continue;
      uint32_t parts[kPlanes];
      split(s[pair][0], s[pair][1], parts);
      HEADSCOPE_UNROLL
      for (int plane = 0; plane < kPlanes; ++plane) {
        *reinterpret_cast<uint32_t*>(weights.row(plane, index) + column(pair)) = parts[plane];
      }
    }
  }
};

/// What a tile does to a row.
struct RowUpdate {
  float peak;      ///< the largest score of the tile
  float row_max;   ///< raised to it
  int anchor = 0;  ///< the column that moments count from; that of the peak where it is the new maximum
  TileSums sums;   ///< over the whole row

  /// By one thread a row.
  HEADSCOPE_DEVICE void apply(RowState& state, int64_t first) const {
    if (peak > state.row_max) {
      state.raise(peak);
      state.argmax = static_cast<int32_t>(first + anchor);
    }
    add(state, sums, first + anchor);
  }
};

/// Scores of a row of a tile that starts at key `first` become weights relative to the new maximum. `row_max` is that
/// of the keys before.
template <int kLanes>
HEADSCOPE_DEVICE RowUpdate weigh_scores(const StatisticRanges& wanted, int64_t position, int64_t first, float row_max,
                                        LaneScores<kLanes>& own) {
  RowUpdate update{own.peak(), row_max, 0, {}};
  const bool raised = update.peak > row_max;
  if (any_of_warp(raised)) {
    const int column = own.column_of(update.peak);
    if (raised) update.row_max = update.peak, update.anchor = column;  // sharp rows keep their digits
  }
  TileSums& sums = update.sums;
  sums = own.weigh(update.row_max, update.anchor, wanted.moments);
  sums.sum = sum_of_row<kLanes>(sums.sum);
  if (wanted.moments) {
    sums.cross = sum_of_row<kLanes>(sums.cross);
    sums.moment1 = sum_of_row<kLanes>(sums.moment1);
    sums.moment2 = sum_of_row<kLanes>(sums.moment2);
  }
  if (wanted.sink_tokens > 0) {
    const ColumnRange sink = columns_of({0, wanted.sink_tokens}, first, most_tile_keys);
    sums.sink = sum_of_row<kLanes>(own.sum_in(sink));
  }
  if (wanted.window_tokens > 0) {
    const ColumnRange window = columns_of({position - wanted.window_tokens + 1, position + 1}, first, most_tile_keys);
    sums.window = sum_of_row<kLanes>(own.sum_in(window));
  }
  return update;
}

}  // namespace headscope::cuda
