#pragma once

#include "kernels/cuda/few_rows_tile.cuh"
#include "kernels/cuda/values.cuh"

namespace headscope::cuda {

// Products of weights and values where the warps of a block share a tile: weights lie in shared memory.

/// Sums of weights times values: a block's rows, and of the columns of values 16 to a warp in turn.
/// Element [tile][step][half] is a fragment D of multiply_add.
template <int kRowTiles, int kSteps>
struct ValueSums {
  float d[kRowTiles][kSteps][2][4] = {};

  HEADSCOPE_DEVICE static int column(int step) { return 16 * (warp_index() + step * (block_threads() / warp_size)); }

  /// Calls `visit(row, column, first, second)` for the lane's sums, two columns at a time.
  template <class Visit>
  HEADSCOPE_DEVICE void each(const Visit& visit) {
    const int g = lane_index() / 4, t = lane_index() % 4;
    HEADSCOPE_UNROLL
    for (int tile = 0; tile < kRowTiles; ++tile) {
      HEADSCOPE_UNROLL
      for (int i = 0; i < 4 * kSteps; ++i) {
        float(&part)[4] = d[tile][i / 4][i / 2 % 2];
        const int row = tile_rows * tile + g + i % 2 * 8;
        visit(row, column(i / 4) + i / 2 % 2 * 8 + 2 * t, part[2 * (i % 2)], part[2 * (i % 2) + 1]);
      }
    }
  }

  /// Adds one key's values to the rows whose weight of it is not negative. weights: [rows].
  template <int kPlanes>
  HEADSCOPE_DEVICE void add_key(const float* weights, const SharedPlanes& values, int key, int columns) {
    const int g = lane_index() / 4, t = lane_index() % 4;
    HEADSCOPE_UNROLL
    for (int i = 0; i < 2 * kSteps; ++i) {
      const int at = column(i / 2) + i % 2 * 8 + 2 * t;
      if (at >= columns) continue;
      float x = 0, y = 0;
      HEADSCOPE_UNROLL
      for (int plane = kPlanes - 1; plane >= 0; --plane) {
        if (plane >= values.count) continue;
        const uint32_t pair = *reinterpret_cast<const uint32_t*>(values.row(plane, key) + at);
        x += first_bf16(pair), y += second_bf16(pair);
      }
      HEADSCOPE_UNROLL
      for (int row = 0; row < 2 * kRowTiles; ++row) {
        const float weight = weights[8 * row + g];
        if (weight < 0) continue;
        d[row / 2][i / 2][i % 2][2 * (row % 2)] += weight * x;
        d[row / 2][i / 2][i % 2][2 * (row % 2) + 1] += weight * y;
      }
    }
  }

  /// Adds the products of a tile. `columns` of values count, a multiple of 16.
  template <int kPlanes>
  HEADSCOPE_DEVICE void multiply(const SharedPlanes& weights, const SharedPlanes& values, int columns) {
    for (int key = 0; key < weights.dim; key += 16) {
      uint32_t a[kRowTiles][kPlanes][4];
      HEADSCOPE_UNROLL
      for (int i = 0; i < kRowTiles * kPlanes; ++i) {
        load_left(a[i / kPlanes][i % kPlanes], weights, i % kPlanes, tile_rows * (i / kPlanes), key / 16);
      }
      HEADSCOPE_UNROLL
      for (int step = 0; step < kSteps; ++step) {
        if (column(step) >= columns) continue;
        uint32_t b[kPlanes][2][2];
        HEADSCOPE_UNROLL
        for (int plane = 0; plane < kPlanes; ++plane) {
          if (plane < values.count) load_values(b[plane], values, plane, key, column(step));
        }
        HEADSCOPE_UNROLL
        for (int tile = 0; tile < kRowTiles; ++tile) {
          multiply_planes(kPlanes, a[tile], values.count, b, d[tile][step][0], d[tile][step][1]);
        }
      }
    }
  }
};

/// Marks the keys whose values hold inf or NaN. A barrier must come before anyone asks.
HEADSCOPE_DEVICE void mark_bad_values(const SharedPlanes& values, int64_t dims, TileMarks& marks) {
  const auto count = static_cast<int>(dims);
  for (int item = thread_index(); item < values.rows * count; item += block_threads()) {
    const int index = item / count;
    constexpr unsigned exponent = 0x7F80;
    if ((values.row(0, index)[item % count] & exponent) != exponent) continue;
    marks.bad = 1;
    marks.bad_keys[index] = 1;
  }
}

HEADSCOPE_DEVICE float sum_of_planes(const SharedPlanes& planes, int row, int column) {
  float sum = 0;
  for (int plane = planes.count - 1; plane >= 0; --plane) sum += first_bf16(planes.row(plane, row)[column]);
  return sum;
}

/// Adds the values of marked keys, which are inf or NaN, to the rows that see them alone, and makes them 0 in the tile:
/// in the product of tiles, a weight of 0 would carry NaN into the other rows. `first` is the key of place 0. Uses up
/// the factors. Barriers come before and after.
template <int kPlanes, int kRowTiles, int kSteps>
HEADSCOPE_DEVICE void take_bad_values(const BlockTiles& tiles, const SharedPlanes& values, int64_t first,
                                      ValueSums<kRowTiles, kSteps>& sums) {
  constexpr float none = -1;  // weights are not negative
  for (int index = 0; index < values.rows; ++index) {
    if (tiles.marks().bad_keys[index] == 0) continue;
    for (int row = thread_index(); row < tiles.plan.rows(); row += block_threads()) {
      const bool seen = tiles.row(row).query.sees(first + index);
      tiles.factors()[row] = seen ? sum_of_planes(tiles.weights(), row, index) : none;
    }
    block_barrier();
    sums.template add_key<kPlanes>(tiles.factors(), values, index, tiles.plan.value_dim);
    block_barrier();
    for (int column = thread_index(); column < tiles.plan.value_dim; column += block_threads()) {
      for (int plane = 0; plane < values.count; ++plane) values.row(plane, index)[column] = 0;
    }
  }
  block_barrier();
}

}  // namespace headscope::cuda
