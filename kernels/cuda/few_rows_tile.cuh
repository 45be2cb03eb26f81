#pragma once

#include "kernels/cuda/few_rows_plan.cuh"
#include "kernels/cuda/values.cuh"

namespace headscope::cuda {

// Tiles of keys and values in a block's shared memory, and products of weights and values.

/// What threads of a block tell each other about a tile.
struct TileMarks {
  int32_t unseen;  ///< some row does not see some key
  int32_t bad;     ///< some value is inf or NaN: of which keys, bad_keys says
  uint8_t bad_keys[most_tile_keys];

  HEADSCOPE_DEVICE void clear() {
    static_assert(sizeof(TileMarks) % 4 == 0 && sizeof(TileMarks) <= TilePlan::mark_bytes);
    auto* words = reinterpret_cast<uint32_t*>(this);
    const auto count = static_cast<int>(sizeof(TileMarks) / 4);
    for (int i = thread_index(); i < count; i += block_threads()) words[i] = 0;
  }
};

/// What a block knows of a row. It lies in shared memory: sums of values take the registers.
struct BlockRow {
  QueryRow query;
  RowState state;
  float* out = nullptr;  ///< for sums of values; null where there is no row, or none are wanted
};
static_assert(sizeof(BlockRow) <= TilePlan::row_bytes && TilePlan::row_bytes % alignof(BlockRow) == 0);

/// The shared memory of a block, as a TilePlan cuts it.
struct BlockTiles {
  const TilePlan& plan;
  std::byte* memory;

  HEADSCOPE_DEVICE SharedPlanes at(SharedPlanes planes, size_t offset) const {
    planes.data = reinterpret_cast<uint16_t*>(memory + offset);
    return planes;
  }
  HEADSCOPE_DEVICE SharedPlanes queries() const { return at(plan.queries(), 0); }
  HEADSCOPE_DEVICE SharedPlanes weights() const { return at(plan.weights(), plan.weights_at()); }
  HEADSCOPE_DEVICE float* scores(int row) const {
    return reinterpret_cast<float*>(memory + plan.scores_at()) + row * plan.score_pitch();
  }
  /// [rows()]
  HEADSCOPE_DEVICE float* factors() const { return reinterpret_cast<float*>(memory + plan.factors_at()); }
  HEADSCOPE_DEVICE BlockRow& row(int index) const {
    return *reinterpret_cast<BlockRow*>(memory + plan.rows_at() + TilePlan::row_bytes * static_cast<size_t>(index));
  }
  HEADSCOPE_DEVICE TileMarks& marks() const { return *reinterpret_cast<TileMarks*>(memory + plan.marks_at()); }

  HEADSCOPE_DEVICE size_t stage_at(int stage) const {
    return plan.stages_at() + static_cast<size_t>(stage) * plan.stage_bytes();
  }
  HEADSCOPE_DEVICE SharedPlanes stored_keys(int stage) const { return at(plan.stored_keys(), stage_at(stage)); }
  HEADSCOPE_DEVICE SharedPlanes keys(int stage) const {
    return plan.turned ? at(plan.keys(), plan.turned_at()) : stored_keys(stage);
  }
  HEADSCOPE_DEVICE SharedPlanes values(int stage) const {
    if (plan.values_in_keys) return stored_keys(stage);
    return at(plan.values(), stage_at(stage) + plan.stored_keys().bytes());
  }
};

/// The rows of one KV head that a block reads: those of `keys`.
struct CacheRows {
  int64_t batch, kv_head;
  KeyRange keys;
};

HEADSCOPE_DEVICE GlobalRow cache_row(const AttentionProblem& p, const InputRows& rows, const CacheRows& cache,
                                     int64_t key) {
  if (key < cache.keys.begin || key >= cache.keys.end) return {};
  return global_row(rows, cache.batch, cache.kv_head, key - p.first_key);
}

/// Starts copies of the rows of keys from `first` on (TilePlan::copied); zeros where the block reads none.
HEADSCOPE_DEVICE void copy_tile(const SharedPlanes& to, const AttentionProblem& p, const InputRows& rows, int64_t dims,
                                const CacheRows& cache, int64_t first) {
  constexpr int numbers = 8;  // of 16 bytes
  const int chunks = to.dim / numbers;
  if (chunks == 0) return;
  const int more_rows = block_threads() / chunks, more_chunks = block_threads() % chunks;
  int index = thread_index() / chunks, chunk = thread_index() % chunks;
  while (index < to.rows) {
    const GlobalRow row = numbers * chunk < dims ? cache_row(p, rows, cache, first + index) : GlobalRow{};
    const uint16_t* from = static_cast<const uint16_t*>(row.data ? row.data : rows.data);
    copy_async(to.row(0, index) + numbers * chunk, row.data ? from + numbers * chunk : from, row.data != nullptr);
    index += more_rows, chunk += more_chunks;
    if (chunk >= chunks) chunk -= chunks, ++index;
  }
}

/// What copy_tile does, through registers, split into planes. `turned`: keys are turned on their way.
template <int kPlanes>
HEADSCOPE_DEVICE void fill_tile(const SharedPlanes& to, const AttentionProblem& p, const InputRows& rows, int64_t dims,
                                const CacheRows& cache, int64_t first, bool turned) {
  const KeyRotation rotation = turned ? p.key_rotation : KeyRotation{};
  fill_planes<kPlanes>(
      to, dims, [&](int index) { return cache_row(p, rows, cache, first + index); },
      [&](int index, const GlobalRow& row, int dim) { return rotated(rotation, row, first + index, dim); });
}

HEADSCOPE_DEVICE void write_number(const SharedPlanes& to, int index, int64_t dim, float number) {
  uint32_t parts[3];
  split(number, 0.0F, parts);
  HEADSCOPE_UNROLL
  for (int plane = 0; plane < 3; ++plane) to.row(plane, index)[dim] = static_cast<uint16_t>(parts[plane] & 0xFFFFU);
}

/// Turns stored keys (one plane) into keys (three). Lanes of a warp take eight neighbouring keys and four pairs: so the
/// tables, whose rows are pairs, are read in whole sectors and shared memory without conflicts.
HEADSCOPE_DEVICE void turn_tile(const SharedPlanes& to, const SharedPlanes& stored, const AttentionProblem& p,
                                const CacheRows& cache, int64_t first) {
  constexpr int lane_keys = 8, lane_pairs = warp_size / lane_keys;
  const KeyRotation& r = p.key_rotation;
  const bool half = r.style == RotationStyle::rotate_half;
  const int64_t partner = half ? r.pairs : 1, step = half ? 1 : 2;
  const int warps = block_threads() / warp_size, groups = stored.rows / lane_keys;
  const int64_t plain = stored.dim - 2 * r.pairs, items = (r.pairs > plain ? r.pairs : plain);
  for (int64_t work = warp_index(); work < groups * ceiling_of(items, lane_pairs); work += warps) {
    const int index = static_cast<int>(work % groups) * lane_keys + lane_index() % lane_keys;
    const int64_t item = work / groups * lane_pairs + lane_index() / lane_keys;
    const GlobalRow key{stored.row(0, index), Element::bf16};
    if (item < plain) {
      const int64_t dim = item < r.first_dim ? item : item + 2 * r.pairs;
      write_number(to, index, dim, key.at(dim));
    }
    if (item >= r.pairs) continue;
    const int64_t a = r.first_dim + step * item, b = a + partner;
    const bool present = first + index >= cache.keys.begin && first + index < cache.keys.end;
    const float c = present ? r.cosines[item * r.stride + first + index] : 0.0F;
    const float s = present ? r.sines[item * r.stride + first + index] : 0.0F;
    const float x = key.at(a), y = key.at(b);
    write_number(to, index, a, x * c - y * s);
    write_number(to, index, b, y * c + x * s);
  }
}

/// Sums of weights times values: a block's rows, and of the columns of values every kWarps-th 16, from 16 * warp on.
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

  /// Adds the products of a tile. `columns` of values count, a multiple of 16. The tensor cores cut off what is below
  /// the last digit of a sum, so f32 tiles are summed on their own; the rounding of bf16 weights hides that.
  template <int kPlanes>
  HEADSCOPE_DEVICE void multiply(const SharedPlanes& weights, const SharedPlanes& values, int columns) {
    if constexpr (kPlanes == 1) {
      for (int key = 0; key < weights.dim; key += 16) {
        uint32_t a[kRowTiles][1][4];
        load_weights(a, weights, key);
        HEADSCOPE_UNROLL
        for (int step = 0; step < kSteps; ++step) {
          if (column(step) < columns) multiply_step(a, values, key, column(step), d, step);
        }
      }
    } else {
      HEADSCOPE_UNROLL
      for (int step = 0; step < kSteps; ++step) {
        if (column(step) < columns) add_tile<kPlanes>(weights, values, step);
      }
    }
  }

 private:
  template <int kPlanes>
  HEADSCOPE_DEVICE static void load_weights(uint32_t (&a)[kRowTiles][kPlanes][4], const SharedPlanes& weights,
                                            int key) {
    HEADSCOPE_UNROLL
    for (int i = 0; i < kRowTiles * kPlanes; ++i) {
      load_left(a[i / kPlanes][i % kPlanes], weights, i % kPlanes, tile_rows * (i / kPlanes), key / 16);
    }
  }

  template <int kPlanes>
  HEADSCOPE_DEVICE void add_tile(const SharedPlanes& weights, const SharedPlanes& values, int step) {
    float sums[kRowTiles][1][2][4] = {};
    for (int key = 0; key < weights.dim; key += 16) {
      uint32_t a[kRowTiles][kPlanes][4];
      load_weights(a, weights, key);
      multiply_step(a, values, key, column(step), sums, 0);
    }
    HEADSCOPE_UNROLL
    for (int i = 0; i < 8 * kRowTiles; ++i) d[i / 8][step][i / 4 % 2][i % 4] += sums[i / 8][0][i / 4 % 2][i % 4];
  }

  /// Adds the products of 16 keys and 16 columns to sums[..][step].
  template <int kPlanes, int kCount>
  HEADSCOPE_DEVICE static void multiply_step(const uint32_t (&a)[kRowTiles][kPlanes][4], const SharedPlanes& values,
                                             int key, int at, float (&sums)[kRowTiles][kCount][2][4], int step) {
    uint32_t b[kPlanes][2][2];
    HEADSCOPE_UNROLL
    for (int plane = 0; plane < kPlanes; ++plane) {
      if (plane < values.count) load_values(b[plane], values, plane, key, at);
    }
    HEADSCOPE_UNROLL
    for (int i = 0; i < plane_pairs<kPlanes>(); ++i) {
      constexpr int planes = kPlanes;
      const PlanePair pair = plane_pair(planes, i);  // of weights and values
      if (pair.key >= values.count) continue;
      HEADSCOPE_UNROLL
      for (int tile = 0; tile < kRowTiles; ++tile) {
        multiply_add(sums[tile][step][0], a[tile][pair.query], b[pair.key][0]);
        multiply_add(sums[tile][step][1], a[tile][pair.query], b[pair.key][1]);
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
