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

  /// From dots of a tile that starts at key `first`; -inf behind its end. Returns whether a key of it is not seen.
  HEADSCOPE_DEVICE bool take(const AttentionProblem& p, const QueryRow& row, const float* dots, int64_t first,
                             int tile_keys) {
    bool unseen = false;
    HEADSCOPE_UNROLL
    for (int i = 0; i < 2 * pairs; ++i) {
      const int at = column(i / 2) + i % 2;
      float& score = s[i / 2][i % 2];
      score = minus_infinity();
      if (at >= tile_keys) continue;
      score = score_of(p, row, dots[at], first + at);
      unseen = unseen || score == minus_infinity();
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

/// Adds the scores of a tile that starts at key `first` to the state of a row; they become weights relative to the new
/// maximum. Returns what sums kept beside the state shrink by.
template <int kLanes>
HEADSCOPE_DEVICE float add_scores(RowState& state, const StatisticRanges& wanted, int64_t position, int64_t first,
                                  LaneScores<kLanes>& own) {
  float factor = 1;
  int anchor = 0;
  const float peak = own.peak();
  const bool raised = peak > state.row_max;
  if (any_of_warp(raised)) {
    const int column = own.column_of(peak);
    if (raised) {
      anchor = column;  // moments that count from there keep their digits where rows are sharp
      state.argmax = static_cast<int32_t>(first + column);
      factor = state.raise(peak);
    }
  }
  TileSums sums = own.weigh(state.row_max, anchor, wanted.moments);
  if (wanted.sink_tokens > 0) sums.sink = own.sum_in(columns_of({0, wanted.sink_tokens}, first, most_tile_keys));
  if (wanted.window_tokens > 0) {
    sums.window = own.sum_in(columns_of({position - wanted.window_tokens + 1, position + 1}, first, most_tile_keys));
  }
  sums.sum = sum_of_row<kLanes>(sums.sum);
  if (wanted.moments) {
    sums.cross = sum_of_row<kLanes>(sums.cross);
    sums.moment1 = sum_of_row<kLanes>(sums.moment1);
    sums.moment2 = sum_of_row<kLanes>(sums.moment2);
  }
  if (wanted.sink_tokens > 0) sums.sink = sum_of_row<kLanes>(sums.sink);
  if (wanted.window_tokens > 0) sums.window = sum_of_row<kLanes>(sums.window);
  add(state, sums, first + anchor);
  return factor;
}

}  // namespace headscope::cuda
