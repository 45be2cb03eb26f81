#pragma once

#include <cstddef>

#include "kernels/cuda/paced_launches.h"
#include "kernels/cuda/scores.cuh"
#include "kernels/divergence.h"

namespace headscope::cuda {

// What the parts of the divergence share: their launchers, and weights of rows whose log-sum-exp is known.

/// What a call is about.
struct DivergenceInputs {
  AttentionProblem problem;
  const float* row_max = nullptr;  ///< [batch, q_heads, q_len]
  const float* log_sum = nullptr;
  DivergenceRequest request;

  HEADSCOPE_HOST_DEVICE int64_t at(int64_t head, int64_t row) const {
    return (request.batch * problem.q_heads + head) * problem.q_len + row;
  }
  HEADSCOPE_DEVICE bool empty(int64_t head, int64_t row) const { return row_max[at(head, row)] == minus_infinity(); }
  HEADSCOPE_HOST_DEVICE int64_t kv_head(int64_t head) const { return head / (problem.q_heads / problem.kv_heads); }
};

// --- numbers and scores -----------------------------------------------------------------------------------------
// Tiles of scores come straight from global memory, in the tensor cores' own layout. Warps that share keys or queries
// find them in the L1 cache, the query heads of a KV head among them; shared memory is left to the weights.

inline constexpr int piece = 8;  ///< numbers that a lane reads at a time where it may
inline constexpr int quad = 4;   ///< lanes that share a row

struct alignas(16) FourWords {
  uint32_t word[4];
};

/// One number of a row of `dims`; zero behind its end.
HEADSCOPE_DEVICE_APART float read_one(KeyRotation rotation, GlobalRow row, int64_t position, int64_t dim,
                                      int64_t dims) {
  return dim < dims ? rotated(rotation, row, position, dim) : 0;
}

/// How numbers of rows are read.
struct RowReader {
  int64_t dims = 0;
  bool whole = false;    ///< every piece is whole and aligned to 16 bytes
  KeyRotation rotation;  ///< of keys that are rotated when they are read

  HEADSCOPE_HOST_DEVICE static RowReader of(const InputRows& rows, int64_t dims, const KeyRotation& rotation) {
    return {dims, dims % piece == 0 && !rotation.cosines && in_whole_pieces(rows, dims), rotation};
  }

  /// Numbers [dim, dim + 8) of a row, a key at `position`; zeros behind its end.
  HEADSCOPE_DEVICE void read(float (&numbers)[piece], const GlobalRow& row, int64_t position, int64_t dim) const {
    HEADSCOPE_UNROLL
    for (int i = 0; i < piece; ++i) numbers[i] = 0;
    if (!row.data || dim >= dims) return;
    if (whole && row.element == Element::f32) {
      const auto* from = reinterpret_cast<const FourWords*>(static_cast<const float*>(row.data) + dim);
      const FourWords words[2] = {from[0], from[1]};
      HEADSCOPE_UNROLL
      for (int i = 0; i < piece; ++i) numbers[i] = float_of_bits(words[i / 4].word[i % 4]);
    } else if (whole) {
      const FourWords words = bf16_words(row, dim);
      HEADSCOPE_UNROLL
      for (int i = 0; i < piece; i += 2) {
        numbers[i] = first_bf16(words.word[i / 2]);
        numbers[i + 1] = second_bf16(words.word[i / 2]);
      }
    } else {
      HEADSCOPE_UNROLL
      for (int i = 0; i < piece; ++i) numbers[i] = read_one(rotation, row, position, dim + i, dims);
    }
  }

  /// Two neighbours of a row as pairs of bf16 in planes; `dim` is even.
  template <int kPlanes>
  HEADSCOPE_DEVICE void read_pair(uint32_t (&parts)[kPlanes], const GlobalRow& row, int64_t position,
                                  int64_t dim) const {
    float x = 0, y = 0;
    if (!row.data || dim >= dims) {
      split(x, y, parts);
      return;
    }
    if (whole && row.element == Element::bf16) {
      const uint32_t word = *reinterpret_cast<const uint32_t*>(static_cast<const uint16_t*>(row.data) + dim);
      x = first_bf16(word), y = second_bf16(word);
    } else if (whole) {
      x = row.at(dim), y = row.at(dim + 1);
    } else {
      x = read_one(rotation, row, position, dim, dims);
      y = read_one(rotation, row, position, dim + 1, dims);
    }
    split(x, y, parts);
  }

 private:
  HEADSCOPE_DEVICE static FourWords bf16_words(const GlobalRow& row, int64_t dim) {
    return *reinterpret_cast<const FourWords*>(static_cast<const uint16_t*>(row.data) + dim);
  }
};

/// Whether queries and keys are taken as they are.
HEADSCOPE_HOST_DEVICE bool is_plain_bf16(const AttentionProblem& p) {
  return planes_of(p.q.element) == 1 && key_planes_of(p) == 1;
}

/// The readers of a call's queries and keys.
struct DivergenceReaders {
  RowReader queries, keys;

  HEADSCOPE_HOST_DEVICE static DivergenceReaders of(const AttentionProblem& p) {
    return {RowReader::of(p.q, p.key_dim, {}), RowReader::of(p.k, p.key_dim, p.key_rotation)};
  }
};

/// No row behind those of the request.
HEADSCOPE_DEVICE GlobalRow query_numbers(const DivergenceInputs& in, int64_t head, int64_t row) {
  if (row >= in.request.row_end) return {};
  return global_row(in.problem.q, in.request.batch, head, row);
}
/// No row for a key that is in no memory.
HEADSCOPE_DEVICE GlobalRow key_numbers(const DivergenceInputs& in, int64_t kv_head, int64_t key) {
  const AttentionProblem& p = in.problem;
  if (key < p.first_key || key >= p.kv_len) return {};
  return global_row(p.k, in.request.batch, kv_head, key - p.first_key);
}

/// <q, k> of 16 queries and 8 * kBlocks keys from `first_key` on. With g = lane / 4, t = lane % 4, a lane brings query
/// rows g and g + 8 and gets, of block n, {row g: keys 8n + 2t, 8n + 2t + 1; row g + 8: the same keys}. The operations
/// are those of multiply_scores in their order, so that scores have the bits that the forward pass saw: where scores
/// are large, that alone makes weights right.
template <int kPlanes, int kBlocks>
HEADSCOPE_DEVICE void multiply_rows(const DivergenceInputs& in, const DivergenceReaders& readers, int64_t kv_head,
                                    const GlobalRow (&queries)[2], int64_t first_key, float (&dots)[kBlocks][4]) {
  HEADSCOPE_UNROLL
  for (int n = 0; n < kBlocks; ++n) {
    HEADSCOPE_UNROLL
    for (int i = 0; i < 4; ++i) dots[n][i] = 0;
  }
  const int g = lane_index() / quad, t = lane_index() % quad;
  for (int64_t first = 0; first < in.problem.key_dim; first += 16) {
    uint32_t q[4][kPlanes];
    HEADSCOPE_UNROLL
    for (int i = 0; i < 4; ++i) readers.queries.read_pair(q[i], queries[i % 2], 0, first + 2 * t + i / 2 * 8);
    HEADSCOPE_UNROLL
    for (int n = 0; n < kBlocks; ++n) {
      const int64_t key = first_key + 8 * n + g;
      const GlobalRow numbers = key_numbers(in, kv_head, key);
      uint32_t k[2][kPlanes];
      HEADSCOPE_UNROLL
      for (int i = 0; i < 2; ++i) readers.keys.read_pair(k[i], numbers, key, first + 2 * t + i * 8);
      float part[4] = {};
      HEADSCOPE_UNROLL
      for (int i = 0; i < plane_pairs<kPlanes>(); ++i) {
        const PlanePair pair = plane_pair(kPlanes, i);
        const uint32_t a[4] = {q[0][pair.query], q[1][pair.query], q[2][pair.query], q[3][pair.query]};
        const uint32_t b[2] = {k[0][pair.key], k[1][pair.key]};
        multiply_add(kPlanes == 1 ? dots[n] : part, a, b);
      }
      HEADSCOPE_UNROLL
      for (int i = 0; i < 4 && kPlanes > 1; ++i) dots[n][i] += part[i];
    }
  }
}

// --- weights --------------------------------------------------------------------------------------------------

/// A query row whose log-sum-exp is known. It sees no key if it is empty, or behind the request's rows.
struct KnownRow {
  QueryRow query;
  RowShift shift;

  HEADSCOPE_DEVICE static KnownRow of(const DivergenceInputs& in, int64_t head, int64_t row) {
    KnownRow known;
    if (row >= in.request.row_end) return known;
    known.query = query_row(in.problem, head, row);
    if (in.empty(head, row)) {
      known.query.keys = {};
    } else {
      known.shift = RowShift::of(known.query, in.row_max[in.at(head, row)], in.log_sum[in.at(head, row)]);
    }
    return known;
  }
  /// log2 of the weight of `key`, from <q, k>.
  HEADSCOPE_DEVICE float log2_weight(const AttentionProblem& p, float dot, int64_t key) const {
    return ((score_of(p, query, dot, key) - shift.shift) - shift.rest) * log2_e;
  }
};

// --- launchers ------------------------------------------------------------------------------------------------
// Their functions return false where a stop was requested. How the work is cut into launches changes no bit.

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
/// all pairs of them, 8 x 8 heads at a time; more heads are cut into groups of 64, and blocks take pairs of groups.
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
