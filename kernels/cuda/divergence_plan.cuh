#pragma once

#include "kernels/cuda/divergence.cuh"
#include "kernels/cuda/paced_launches.h"

namespace headscope::cuda {

// The launchers of the divergence's parts, and how they cut it. They return false where a stop was requested. How the
// work is cut into launches changes no bit.

/// What a product of queries and keys takes longer than PacedLaunches counts for one: numbers come from global memory
/// four bytes at a time. Unmeasured.
inline constexpr double slow_reads = 4;

// divergence_error.cu: a bound on the rounding of recomputed weights
struct WeightErrors {
  double* roots = nullptr;      ///< [q_heads], the `root_error` of kernels/divergence_estimate.h
  uint32_t* largest = nullptr;  ///< [q_heads][2]: of the keys, |k|^2 and |key_log_weight|, as the bits of floats
};
bool start_weight_errors(const DivergenceInputs&, const WeightErrors&, PacedLaunches&);

/// How the rows of an exact divergence, or of Hellinger's, are cut. Everything depends on the problem and the device's
/// limits alone, so that a call repeats its bits.
///
/// A block has the weights of up to 2 * 64 heads on a tile of 16 rows and `tile_keys` keys in shared memory and takes
/// all pairs of them, 8 x 8 heads at a time; more heads are cut into groups of 64, or of 32 where a block has less than
/// 160 KiB, and blocks take pairs of groups.
/// Tiles are numbered row after row, as far as rows see them, and dealt to the parts in turn. A launch takes some in a
/// row, and a part's sums wait for the next one in global memory.
struct PairPlan {
  static constexpr int tile_rows = 16, unit_keys = 16, side = 8, pair_block = side * side, most_group = 64;
  static constexpr int most_tile_keys = 128, weights_kept = 64 * 1024 / 4 / tile_rows;
  static constexpr int64_t multiprocessor_blocks = 2;

  int64_t heads = 0;
  int group = 0;  ///< heads of a group, a multiple of 8
  int groups = 0;
  int tile_keys = 0;
  int pair_blocks = 0;   ///< of two groups, at most
  int slices = 0;        ///< parts of a tile's cells, so that all warps have about the same work
  int64_t tiles = 0;     ///< of all rows
  int64_t parts = 0;     ///< blocks of two groups, with one tile each at least, if there are any
  double tile_work = 0;  ///< multiply-adds that take as long, as PacedLaunches counts them

  HEADSCOPE_HOST_DEVICE int group_pairs() const { return groups * (groups + 1) / 2; }
  HEADSCOPE_HOST_DEVICE int group_blocks() const { return group / side; }
  HEADSCOPE_HOST_DEVICE int local_heads() const { return groups > 1 ? 2 * group : group; }
  HEADSCOPE_HOST_DEVICE int tile_cells() const { return tile_rows * tile_keys; }
  HEADSCOPE_HOST_DEVICE int64_t part_size() const { return int64_t{pair_block} * pair_blocks * slices; }
  HEADSCOPE_HOST_DEVICE int64_t sums() const { return group_pairs() * parts * part_size(); }
  /// Of a block: sums of each slice, and the weights of a tile.
  size_t shared_bytes() const {
    return static_cast<size_t>(part_size()) * sizeof(double) +
           static_cast<size_t>(local_heads() * tile_cells()) * sizeof(float);
  }

  static PairPlan of(const AttentionProblem&, const DivergenceRequest&, const DeviceLimits&);
  /// What of it hangs on the heads alone.
  static PairPlan in_groups_of(int group, int64_t heads);

  /// Number of a pair i <= j of `count` things, pairs of equal ones included: (0, 0), (0, 1), ..., (1, 1), ...
  HEADSCOPE_HOST_DEVICE static int64_t triangular(int64_t i, int64_t j, int64_t count) {
    return i * count - i * (i - 1) / 2 + j - i;
  }
  /// Place of the pair i <= j of heads in the sums of slice 0 of part 0; that of the next slice is pair_block further,
  /// that of the next part part_size().
  HEADSCOPE_HOST_DEVICE int64_t place(int64_t i, int64_t j) const {
    const int64_t a = i / group, b = j / group, row = i % group / side, column = j % group / side;
    const int64_t block = a == b ? triangular(row, column, group_blocks()) : row * group_blocks() + column;
    return triangular(a, b, groups) * parts * part_size() + block * slices * pair_block + i % side * side + j % side;
  }

  /// Keys, 16 at a time.
  struct Units {
    int first = 0, count = 0;
  };
  /// What any of the 16 rows from `row` on sees. The range begins and ends later with every row, but one that sees
  /// nothing has none.
  HEADSCOPE_HOST_DEVICE static Units seen_from(const DivergenceInputs& in, int row) {
    const auto rows_end = static_cast<int>(in.request.row_end);
    const int end_row = row + tile_rows < rows_end ? row + tile_rows : rows_end;
    KeyRange seen;
    for (int i = row; seen.empty() && i < end_row; ++i) seen = visible_keys(in.problem, i);
    if (seen.empty()) return {};
    for (int i = end_row; i-- > row;) {
      const KeyRange keys = visible_keys(in.problem, i);
      if (keys.empty()) continue;
      seen.end = keys.end;
      break;
    }
    const auto first = static_cast<int>(seen.begin / unit_keys);
    return {first, static_cast<int>((seen.end + unit_keys - 1) / unit_keys) - first};
  }
  HEADSCOPE_HOST_DEVICE int tile_units() const { return tile_keys / unit_keys; }
  HEADSCOPE_HOST_DEVICE int tiles_of(const Units& units) const {
    return (units.count + tile_units() - 1) / tile_units();
  }
};

/// What finishing the sums must know of their rounding, in units of 2^-24 (divergence_rows.cu).
struct PairRoundings {
  double relative = 0;  ///< of the sum of the terms' absolute values
  double absolute = 0;  ///< of a row's term, in bits
};
PairRoundings pair_roundings(const PairPlan&, DivergenceEstimator);
bool start_pair_sums(const DivergenceInputs&, const PairPlan&, double* sums, PacedLaunches&);

/// What is known of one draw of a key.
struct Draw {
  static constexpr int64_t none = -1, pending = -2;
  static constexpr int64_t own_key = -3;  ///< where an empty row has its weight

  int64_t key = none;
  double target = 0;
  double mass = 0;  ///< weight of the keys seen so far
};

/// divergence_sample.cu: draws of each head are cut into runs, one for each block, and these into chunks, which a block
/// takes one after the other. A chunk goes over the keys twice, a tile a step; a launch takes some steps in a row, and
/// draws wait for the next one in global memory.
struct SamplePlan {
  static constexpr int warps = 8, warp_rows = 16, chunk = warps * warp_rows;
  static constexpr int tile_keys = 32;
  static constexpr int64_t most_runs = 64;

  int64_t heads = 0, samples = 0;
  int64_t run = 0, runs = 0;
  int64_t key_tiles = 0;
  double step_work = 0;  ///< of all blocks, as PacedLaunches counts it

  HEADSCOPE_HOST_DEVICE int64_t steps() const { return run / chunk * 2 * key_tiles; }
  HEADSCOPE_HOST_DEVICE int64_t sums() const { return heads * runs * run_size(); }
  HEADSCOPE_HOST_DEVICE int64_t run_size() const { return warps * heads; }
  /// Place of the sum of warp 0 of run 0 over draws of `head` and terms with `other`; that of the next warp is `heads`
  /// further, that of the next run run_size().
  HEADSCOPE_HOST_DEVICE int64_t place(int64_t head, int64_t other) const { return head * runs * run_size() + other; }
  HEADSCOPE_HOST_DEVICE int64_t draws() const { return heads * runs * chunk; }

  static SamplePlan of(const AttentionProblem&, const DivergenceRequest&);
};
/// Memory of a sampled divergence: [sums()] and [draws()].
struct SampleMemory {
  double* sums = nullptr;
  Draw* draws = nullptr;
};
bool start_sample_sums(const DivergenceInputs&, const SamplePlan&, const SampleMemory&, PacedLaunches&);

}  // namespace headscope::cuda
