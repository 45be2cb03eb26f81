#pragma once

#include "kernels/cuda/scores.cuh"
#include "kernels/cuda/tuning.h"

namespace headscope::cuda {

// How the forward pass of few rows is cut into blocks, and a block's shared memory into tiles. Plain arithmetic for the
// host and, where lengths are read on the device, for kernels.

inline constexpr int tile_rows = 16;                          ///< rows of one tile of the tensor cores
inline constexpr int most_row_tiles = 4;                      ///< a block has 1 or this many
inline constexpr int most_tile_keys = tuning::few_rows_keys;  ///< tiles start at its multiples, wherever splits begin
inline constexpr int64_t least_split = tuning::least_split;   ///< keys, a multiple of most_tile_keys

/// Blocks that all splits together should be.
inline int64_t wanted_blocks(const DeviceLimits& limits) {
  return int64_t{tuning::split_blocks} * limits.multiprocessors;
}

HEADSCOPE_HOST_DEVICE KeyRange common(const KeyRange& a, const KeyRange& b) {
  const KeyRange both{a.begin > b.begin ? a.begin : b.begin, a.end < b.end ? a.end : b.end};
  return both.empty() ? KeyRange{} : both;
}

/// Row `index` of those that read one KV head: rows of one position lie together, because they see the same keys.
struct GroupRow {
  int64_t head, row;
};
HEADSCOPE_HOST_DEVICE int64_t group_of(const AttentionProblem& p) { return p.q_heads / p.kv_heads; }
HEADSCOPE_HOST_DEVICE int64_t rows_of_kv_head(const AttentionProblem& p) { return group_of(p) * p.q_len; }
HEADSCOPE_HOST_DEVICE GroupRow group_row(const AttentionProblem& p, int64_t kv_head, int64_t index) {
  return {kv_head * group_of(p) + index % group_of(p), index / group_of(p)};
}

/// The keys of a problem, cut into splits that blocks compute side by side. A function of the range of keys, the number
/// of blocks for each split and that of `wanted` blocks, so the same call on the same device has the same bits always.
struct SplitPlan {
  KeyRange keys;
  int64_t begin = 0;       ///< where split 0 would begin: a multiple of most_tile_keys
  int64_t split_keys = 0;  ///< a multiple of it, too
  int64_t count = 1;

  HEADSCOPE_HOST_DEVICE static SplitPlan of(const KeyRange& keys, int64_t blocks, int64_t wanted_blocks) {
    SplitPlan plan{keys, keys.begin / most_tile_keys * most_tile_keys, least_split, 1};
    const int64_t length = keys.end - plan.begin, wanted = most_splits(length, blocks, wanted_blocks);
    if (wanted <= 1) {
      if (length > 0) plan.split_keys = ceil_div(length, most_tile_keys) * most_tile_keys;
      return plan;
    }
    const int64_t share = ceil_div(ceil_div(length, wanted), most_tile_keys) * most_tile_keys;
    if (share > plan.split_keys) plan.split_keys = share;
    plan.count = ceil_div(length, plan.split_keys);
    return plan;
  }
  /// No range of at most `length` keys is cut into more.
  HEADSCOPE_HOST_DEVICE static int64_t most_splits(int64_t length, int64_t blocks, int64_t wanted_blocks) {
    const int64_t fill = blocks < wanted_blocks ? ceil_div(wanted_blocks, blocks > 0 ? blocks : 1) : 1;
    const int64_t most = ceil_div(length, least_split);
    const int64_t splits = fill < most ? fill : most;
    return splits > 1 ? splits : 1;
  }
  /// Where a split begins and ends. Splits lie side by side and hold all keys.
  HEADSCOPE_HOST_DEVICE KeyRange bounds(int64_t index) const {
    return {begin + index * split_keys, begin + (index + 1) * split_keys};
  }
  /// Of a key of `keys`.
  HEADSCOPE_HOST_DEVICE int64_t split_of(int64_t key) const { return (key - begin) / split_keys; }
  HEADSCOPE_HOST_DEVICE KeyRange split(int64_t index) const { return common(bounds(index), keys); }
};

/// The shared memory of a block, and how keys and values come to it. A stage is one tile of keys and values; with
/// several, later ones are copied in the background while one is computed with.
struct TilePlan {
  int row_tiles = 1;
  int query_planes = 1, key_planes = 1, value_planes = 1, weight_planes = 1;
  int key_dim = 0, value_dim = 0;  ///< padded
  bool copied = false;             ///< in the background, as rows lie; else through registers
  bool values_in_keys = false;     ///< values are the first numbers of keys as they are stored: read once
  bool turned = false;             ///< keys come as they are stored, one plane, and are turned in shared memory
  int tile_keys = 0;               ///< 16, 32 or 64
  int stages = 1;
  int64_t wanted_blocks = 0;

  HEADSCOPE_HOST_DEVICE int rows() const { return tile_rows * row_tiles; }
  HEADSCOPE_HOST_DEVICE int score_pitch() const { return tile_keys + 8; }

  // Tiles, with no memory yet.
  HEADSCOPE_HOST_DEVICE SharedPlanes queries() const { return {nullptr, rows(), key_dim, query_planes}; }
  HEADSCOPE_HOST_DEVICE SharedPlanes weights() const { return {nullptr, rows(), tile_keys, weight_planes}; }
  HEADSCOPE_HOST_DEVICE SharedPlanes keys() const { return {nullptr, tile_keys, key_dim, key_planes}; }
  HEADSCOPE_HOST_DEVICE SharedPlanes stored_keys() const {
    return {nullptr, tile_keys, key_dim, turned ? 1 : key_planes};
  }
  HEADSCOPE_HOST_DEVICE SharedPlanes values() const { return {nullptr, tile_keys, value_dim, value_planes}; }

  // Where they lie, in bytes: what is there once, then the stages.
  HEADSCOPE_HOST_DEVICE size_t weights_at() const { return queries().bytes(); }
  HEADSCOPE_HOST_DEVICE size_t scores_at() const { return weights_at() + weights().bytes(); }
  HEADSCOPE_HOST_DEVICE size_t factors_at() const {
    return scores_at() + sizeof(float) * static_cast<size_t>(rows() * score_pitch());
  }
  HEADSCOPE_HOST_DEVICE size_t marks_at() const { return factors_at() + sizeof(float) * static_cast<size_t>(rows()); }
  HEADSCOPE_HOST_DEVICE size_t rows_at() const { return marks_at() + mark_bytes; }
  HEADSCOPE_HOST_DEVICE size_t turned_at() const { return rows_at() + row_bytes * static_cast<size_t>(rows()); }
  HEADSCOPE_HOST_DEVICE size_t stages_at() const { return turned_at() + (turned ? keys().bytes() : 0); }
  HEADSCOPE_HOST_DEVICE size_t stage_bytes() const {
    return stored_keys().bytes() + (values_in_keys ? 0 : values().bytes());
  }
  HEADSCOPE_HOST_DEVICE size_t bytes() const { return stages_at() + static_cast<size_t>(stages) * stage_bytes(); }

  static constexpr size_t mark_bytes = 128, row_bytes = 128;  ///< room for TileMarks, and for a BlockRow each
};

/// Sets keys a tile and stages to the most that fit into `bytes`; false if nothing does.
inline bool fit_tiles(TilePlan& plan, size_t bytes) {
  for (plan.tile_keys = most_tile_keys; plan.tile_keys >= 16; plan.tile_keys /= 2) {
    for (plan.stages = plan.copied ? tuning::few_rows_stages : 1; plan.stages >= (plan.copied ? 2 : 1); --plan.stages) {
      if (plan.bytes() <= bytes) return true;
    }
  }
  return false;
}

/// What tiles of a problem hold and how it comes there, before they are fitted into memory: for 16 rows.
inline TilePlan tiles_of(const AttentionProblem& p) {
  TilePlan plan;
  plan.query_planes = planes_of(p.q.element);
  plan.key_planes = key_planes_of(p);
  plan.value_planes = planes_of(p.v.element);
  plan.key_dim = padded_dim(p.key_dim), plan.value_dim = padded_dim(p.value_dim);
  plan.weight_planes = plan.query_planes + plan.key_planes + plan.value_planes > 3 ? 3 : 1;
  plan.turned = p.key_rotation.cosines && p.k.element == Element::bf16;
  const bool turned_late = p.key_rotation.cosines && !plan.turned;
  plan.values_in_keys = p.k == p.v && p.value_dim <= p.key_dim && !turned_late;
  plan.copied = can_be_copied(p.k, p.key_dim) && (plan.values_in_keys || can_be_copied(p.v, p.value_dim));
  return plan;
}

/// Whether the smallest tiles of a problem fit into a block's memory. plan_tiles is for problems whose do.
inline bool tiles_fit(const AttentionProblem& p, const DeviceLimits& limits) {
  TilePlan plan = tiles_of(p);
  return fit_tiles(plan, limits.block_bytes);
}

/// The tiles of a problem. Two blocks of few rows shall share a multiprocessor where that is possible, so that one
/// computes while the other waits for memory. Those of many rows take the registers of a whole one.
inline TilePlan plan_tiles(const AttentionProblem& p, const DeviceLimits& limits) {
  TilePlan plan = tiles_of(p);
  plan.wanted_blocks = wanted_blocks(limits);
  const bool large = p.key_dim > 256 || p.value_dim > 256;
  if (rows_of_kv_head(p) > tile_rows && !(plan.weight_planes > 1 && large)) {
    plan.row_tiles = most_row_tiles;
    if (fit_tiles(plan, limits.block_bytes)) return plan;
    plan.row_tiles = 1;
  }
  if (!fit_tiles(plan, limits.bytes_of_one_of(2))) fit_tiles(plan, limits.block_bytes);
  return plan;
}

}  // namespace headscope::cuda
