#pragma once

#include "kernels/cuda/few_rows_plan.cuh"
#include "kernels/cuda/row_state.cuh"

namespace headscope::cuda {

// Tiles of keys and values in a block's shared memory, and how they come there.

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

HEADSCOPE_DEVICE void write_number(const SharedPlanes& to, int index, int dim, float number) {
  uint32_t parts[3];
  split(number, 0.0F, parts);
  HEADSCOPE_UNROLL
  for (int plane = 0; plane < 3; ++plane) to.row(plane, index)[dim] = static_cast<uint16_t>(parts[plane] & 0xFFFFU);
}

/// Turns stored keys (one plane) into keys (three), but for those that the block does not read. Lanes of a warp take
/// eight neighbouring keys and four pairs: so the tables, whose rows are pairs, are read in whole sectors and shared
/// memory without conflicts.
HEADSCOPE_DEVICE void turn_tile(const SharedPlanes& to, const SharedPlanes& stored, const AttentionProblem& p,
                                const CacheRows& cache, int64_t first) {
  constexpr int lane_keys = 8, lane_pairs = warp_size / lane_keys;
  const KeyRotation& r = p.key_rotation;
  const bool half = r.style == RotationStyle::rotate_half;
  const auto pairs = static_cast<int>(r.pairs), first_dim = static_cast<int>(r.first_dim);
  const int partner = half ? pairs : 1, plain = stored.dim - 2 * pairs, items = pairs > plain ? pairs : plain;
  const int groups = stored.rows / lane_keys, rounds = groups * ((items + lane_pairs - 1) / lane_pairs);
  for (int round = warp_index(); round < rounds; round += block_threads() / warp_size) {
    const int index = round % groups * lane_keys + lane_index() % lane_keys;
    const int item = round / groups * lane_pairs + lane_index() / lane_keys;
    const GlobalRow key{stored.row(0, index), Element::bf16};
    if (item < plain) {
      const int dim = item < first_dim ? item : item + 2 * pairs;
      write_number(to, index, dim, key.at(dim));
    }
    const int64_t position = first + index;
    if (item >= pairs || position < cache.keys.begin || position >= cache.keys.end) continue;
    const float c = r.cosines[item * r.stride + position], s = r.sines[item * r.stride + position];
    const int dim = first_dim + (half ? item : 2 * item);
    const float x = key.at(dim), y = key.at(dim + partner);
    write_number(to, index, dim, rounded_product(x, c) - rounded_product(y, s));
    write_number(to, index, dim + partner, rounded_product(y, c) + rounded_product(x, s));
  }
}

}  // namespace headscope::cuda
