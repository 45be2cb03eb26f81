#pragma once

#include "kernels/cuda/row_state.cuh"

namespace headscope::cuda {

// The online softmax of the 16 rows of a warp, one tile of keys at a time, on scores as multiply_scores lays them out:
// with g = lane / 4 and t = lane % 4, element i of block n belongs to row g + 8 (i / 2) and column tile_column(n, i).
// The four lanes of a quad share two rows; each of them looks after the state of one, row g + 8 (t % 2).

HEADSCOPE_DEVICE int tile_column(int block, int element) { return 8 * block + 2 * (lane_index() % 4) + element % 2; }

/// Which of the quad's two rows is the lane's own: 0 or 1.
HEADSCOPE_DEVICE int own_row() { return lane_index() % 2; }
HEADSCOPE_DEVICE float own_of(float first, float second) { return own_row() ? second : first; }

HEADSCOPE_DEVICE float quad_max(float value) {
  value = fmaxf(value, shuffle_xor(value, 1));
  return fmaxf(value, shuffle_xor(value, 2));
}
HEADSCOPE_DEVICE int quad_min(int value) {
  const int other = shuffle_xor(value, 1);
  value = other < value ? other : value;
  const int far = shuffle_xor(value, 2);
  return far < value ? far : value;
}
/// Sums of the two rows over the quad, of which each lane gets that of its own row.
HEADSCOPE_DEVICE float quad_sum(float first, float second) {
  float sum = own_of(first, second);
  sum += shuffle_xor(own_of(second, first), 1);
  return sum + shuffle_xor(sum, 2);
}

/// What a lane keeps of its quad's two rows.
struct LaneRows {
  RowState state;  ///< of its own
  float row_max[2] = {minus_infinity(), minus_infinity()};
};

/// Columns of a tile.
struct ColumnRange {
  int begin = 0, end = 0;
  HEADSCOPE_DEVICE bool holds(int column) const { return column >= begin && column < end; }
};
HEADSCOPE_DEVICE ColumnRange columns_of(KeyRange keys, int64_t first_key, int columns) {
  const auto within = [&](int64_t key) {
    const int64_t column = key - first_key;
    return static_cast<int>(column < 0 ? 0 : column > columns ? columns : column);
  };
  return {within(keys.begin), within(keys.end)};
}

/// What of the statistics is wanted.
struct StatisticRanges {
  bool moments = false;  ///< entropy, distance, its variance
  int64_t sink_tokens = 0;
  int64_t window_tokens = 0;

  HEADSCOPE_HOST_DEVICE static StatisticRanges of(const RowStatistics& wanted) {
    return {wanted.entropy || wanted.distance || wanted.distance_variance, wanted.sink ? wanted.sink_tokens : 0,
            wanted.window ? wanted.window_tokens : 0};
  }
};

/// What a tile did to the rows of a lane.
struct TileEffect {
  float factors[2] = {1, 1};  ///< what sums kept beside the state shrink by, before the tile's part is added
  float peaks[2] = {};        ///< the largest scores of the tile, -inf where there are none
  float own_sum = 0;          ///< the tile's weights of the own row
};

/// Raises the maxima of both rows to those of the tile. `anchors` becomes the column of each new maximum, or 0: of the
/// tile's columns the nearest to argmax. Moments that count from there keep their digits where rows are sharp.
template <int kBlocks>
HEADSCOPE_DEVICE void raise_maxima(LaneRows& rows, const float (&scores)[kBlocks][4], int64_t first_key,
                                   TileEffect& effect, int (&anchors)[2]) {
  bool raised[2];
  HEADSCOPE_UNROLL
  for (int r = 0; r < 2; ++r) {
    float peak = minus_infinity();
    HEADSCOPE_UNROLL
    for (int n = 0; n < kBlocks; ++n) peak = fmaxf(peak, fmaxf(scores[n][2 * r], scores[n][2 * r + 1]));
    effect.peaks[r] = quad_max(peak);
    raised[r] = effect.peaks[r] > rows.row_max[r];
    anchors[r] = 0;
  }
  if (!any_of_warp(raised[0] || raised[1])) return;
  HEADSCOPE_UNROLL
  for (int r = 0; r < 2; ++r) {
    int column = 8 * kBlocks;
    HEADSCOPE_UNROLL
    for (int n = kBlocks - 1; n >= 0; --n) {
      if (scores[n][2 * r + 1] == effect.peaks[r]) column = tile_column(n, 1);
      if (scores[n][2 * r] == effect.peaks[r]) column = tile_column(n, 0);
    }
    column = quad_min(column);
    if (!raised[r]) continue;
    anchors[r] = column;
    effect.factors[r] = shrinkage(rows.row_max[r], effect.peaks[r]);
    rows.row_max[r] = effect.peaks[r];
    if (own_row() != r) continue;
    rows.state.raise(effect.peaks[r]);
    rows.state.argmax = static_cast<int32_t>(first_key + column);
  }
}

/// Scores of a lane's row r -> weights, in place, and their sums over the lane's columns.
template <bool kMoments, int kBlocks>
HEADSCOPE_DEVICE TileSums weigh(int r, float row_max, int anchor, float (&scores)[kBlocks][4]) {
  // A row that has seen no score yet subtracts 0: -inf stays a weight of 0 and NaN stays NaN.
  const float shift = row_max == minus_infinity() ? 0.0F : row_max;
  const auto origin = static_cast<float>(tile_column(0, 0) - anchor);
  TileSums sums;
  HEADSCOPE_UNROLL
  for (int n = 0; n < kBlocks; ++n) {
    HEADSCOPE_UNROLL
    for (int i = 0; i < 2; ++i) {
      const float x = (scores[n][2 * r + i] - shift) * log2_e;
      const float w = exp2_fast(x);
      scores[n][2 * r + i] = w;
      sums.sum += w;
      if constexpr (kMoments) {
        constexpr float cut = -127;  // where w is 0: 0 times -inf would be NaN
        sums.cross += w * fmaxf(x, cut);
        const float offset = origin + static_cast<float>(8 * n + i), moment = w * offset;
        sums.moment1 += moment;
        sums.moment2 += moment * offset;
      }
    }
  }
  return sums;
}

/// Adds the weights of a lane's row r on the first keys and on those just before the query.
template <int kBlocks>
HEADSCOPE_DEVICE void add_ranges(int r, ColumnRange sink, ColumnRange window, const float (&weights)[kBlocks][4],
                                 TileSums& sums) {
  HEADSCOPE_UNROLL
  for (int n = 0; n < kBlocks; ++n) {
    HEADSCOPE_UNROLL
    for (int i = 0; i < 2; ++i) {
      const int column = tile_column(n, i);
      if (sink.holds(column)) sums.sink += weights[n][2 * r + i];
      if (window.holds(column)) sums.window += weights[n][2 * r + i];
    }
  }
}

/// Adds a tile of keys that starts at `first_key`: scores, -inf where a row does not see a key, become weights relative
/// to the new maxima. `positions` are those of the two rows' queries. The whole warp takes part.
template <int kBlocks>
HEADSCOPE_DEVICE TileEffect add_tile(LaneRows& rows, const StatisticRanges& wanted, const int64_t (&positions)[2],
                                     int64_t first_key, float (&scores)[kBlocks][4]) {
  constexpr int columns = 8 * kBlocks;
  TileEffect effect;
  int anchors[2];
  raise_maxima(rows, scores, first_key, effect, anchors);
  TileSums both[2];
  HEADSCOPE_UNROLL
  for (int r = 0; r < 2; ++r) {
    both[r] = wanted.moments ? weigh<true>(r, rows.row_max[r], anchors[r], scores)
                             : weigh<false>(r, rows.row_max[r], anchors[r], scores);
  }
  ColumnRange sink = columns_of({0, wanted.sink_tokens}, first_key, columns), window[2];
  for (int r = 0; r < 2; ++r) {
    window[r] = columns_of({positions[r] - wanted.window_tokens + 1, positions[r] + 1}, first_key, columns);
  }
  const auto any = [](ColumnRange range) { return range.begin < range.end; };
  const bool ranges = any_of_warp(any(sink) || any(window[0]) || any(window[1]));
  if (ranges) {
    HEADSCOPE_UNROLL
    for (int r = 0; r < 2; ++r) add_ranges(r, sink, window[r], scores, both[r]);
  }
  TileSums own;
  own.sum = quad_sum(both[0].sum, both[1].sum);
  if (wanted.moments) {
    own.cross = quad_sum(both[0].cross, both[1].cross);
    own.moment1 = quad_sum(both[0].moment1, both[1].moment1);
    own.moment2 = quad_sum(both[0].moment2, both[1].moment2);
  }
  if (ranges) {
    own.sink = quad_sum(both[0].sink, both[1].sink);
    own.window = quad_sum(both[0].window, both[1].window);
  }
  effect.own_sum = own.sum;
  add(rows.state, own, first_key + (own_row() ? anchors[1] : anchors[0]));
  return effect;
}

}  // namespace headscope::cuda
