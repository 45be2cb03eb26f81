// Sums over whole rows that the divergences of all head pairs are made of: Jensen-Shannon's and Hellinger's.
//
// Hellinger's as well is no product of matrices, sqrt(p) sqrt(q)^T on the tensor cores: 1 - sum sqrt(p q) has an
// absolute error of 1e-7 or more, however few bits the differences of heads that are nearly equal have, and bounds of
// second order would be lost. (sqrt(p) - sqrt(q))^2 costs an addition and a multiplication per cell and pair, without
// the special function unit, which the exact form keeps busy.
#include <algorithm>

#include "kernels/cuda/divergence_plan.cuh"

namespace headscope::cuda {
namespace {

constexpr int threads = 256, warps = threads / warp_size;

/// Exact: the sum of m log2(m) over keys, m = (p + q) / 2. With m = p for equal heads, each pair of heads i, j has
/// JSD = ln 2 * ((sum_ii + sum_jj) / 2 - sum_ij), which is 0 to the bit where the weights are equal.
struct ExactTerm {
  /// From log2 of the weight to what `add` takes.
  static HEADSCOPE_DEVICE float weight(float x) { return 0.5F * exp2_fast(x); }
  static HEADSCOPE_DEVICE float add(float sum, float p, float q) {
    const float m = p + q;
    return sum + m * log2_fast(fmaxf(m, 0x1p-126F));  // 0 * log2(0) is no number; NaN stays in m
  }
};

/// Hellinger: the sum of (sqrt(p) - sqrt(q))^2 over keys, 2 * h2.
struct HellingerTerm {
  static HEADSCOPE_DEVICE float weight(float x) { return exp2_fast(0.5F * x); }
  static HEADSCOPE_DEVICE float add(float sum, float p, float q) {
    const float apart = p - q;
    return sum + apart * apart;
  }
};

struct PairParams {
  DivergenceInputs in;
  DivergenceReaders readers;
  PairPlan plan;
  double* sums;            ///< [group pairs][parts][part_size]
  int64_t first_tile = 0;  ///< of the launch
  int tiles = 0;           ///< of the launch
  int first_row = 0;       ///< where the first tile lies
  int skipped_tiles = 0;   ///< before it, of the same rows
};

/// What a block works on: two groups of heads, or one with itself.
struct GroupPair {
  int first = 0, second = 0;

  HEADSCOPE_DEVICE static GroupPair of(int number, int groups) {
    GroupPair pair;
    for (; number >= groups - pair.first; ++pair.first) number -= groups - pair.first;
    pair.second = pair.first + number;
    return pair;
  }
  HEADSCOPE_DEVICE bool one_group() const { return first == second; }
};

/// One block: shared memory holds the weights of its heads, [local_heads][tile_cells], and [pair_blocks * slices][64]
/// sums. Which cell lies where in a tile's weights does not matter, as long as it is the same for all heads.
template <class Term, int kPlanes>
class PairBlock {
 public:
  HEADSCOPE_DEVICE explicit PairBlock(const PairParams& p)
      : p_(p), plan_(p.plan), groups_(GroupPair::of(static_cast<int>(block_index().y), p.plan.groups)) {
    sums_ = reinterpret_cast<double*>(shared_memory());
    weights_ = reinterpret_cast<float*>(sums_ + plan_.part_size());
  }

  HEADSCOPE_DEVICE void run() {
    double* const kept = p_.sums + (block_index().y * plan_.parts + part()) * plan_.part_size();
    const bool is_first = p_.first_tile + block_index().x < plan_.parts;
    for (int i = thread_index(); i < plan_.part_size(); i += threads) sums_[i] = is_first ? 0 : kept[i];
    // Heads that do not exist keep these zeros.
    for (int i = thread_index(); i < plan_.local_heads() * plan_.tile_cells(); i += threads) weights_[i] = 0;
    // The block's next tile, and the launch's end, counted from the first of the row tile.
    int next = p_.skipped_tiles + static_cast<int>(block_index().x), end = p_.skipped_tiles + p_.tiles;
    for (int row = p_.first_row; next < end; row += PairPlan::tile_rows) {
      const PairPlan::Units seen = PairPlan::seen_from(p_.in, row);
      const int tiles = plan_.tiles_of(seen), units = plan_.tile_units();
      for (; next < tiles && next < end; next += static_cast<int>(plan_.parts)) {
        const int before = next * units, left = seen.count - before;
        add_tile(row, (seen.first + before) * PairPlan::unit_keys, left < units ? left : units);
      }
      next -= tiles;
      end -= tiles;
    }
    block_barrier();
    for (int i = thread_index(); i < plan_.part_size(); i += threads) kept[i] = sums_[i];
  }

 private:
  HEADSCOPE_DEVICE int64_t part() const { return (p_.first_tile + block_index().x) % plan_.parts; }

  HEADSCOPE_DEVICE int64_t head_of(int local) const {
    const int group = local < plan_.group ? groups_.first : groups_.second;
    return int64_t{group} * plan_.group + local % plan_.group;
  }
  HEADSCOPE_DEVICE float* weights(int local) const { return weights_ + local * plan_.tile_cells(); }

  /// All pairs on `units` times 16 keys from `first` on.
  HEADSCOPE_DEVICE void add_tile(int row, int first, int units) const {
    block_barrier();  // the weights of the tile before are used
    const int heads = groups_.one_group() ? plan_.group : plan_.local_heads();
    for (int item = warp_index(); item < heads * units; item += warps) {
      const int local = item / units, unit = item % units;
      if (head_of(local) < plan_.heads) weigh(local, row, first, unit);
    }
    block_barrier();
    const int side = plan_.group_blocks();
    const int blocks = groups_.one_group() ? side * (side + 1) / 2 : side * side;
    const int vectors = units * PairPlan::tile_rows * PairPlan::unit_keys / warp_size;
    for (int item = warp_index(); item < blocks * plan_.slices; item += warps) {
      const int block = item / plan_.slices, slice = item % plan_.slices;
      const GroupPair at = groups_.one_group() ? GroupPair::of(block, side) : GroupPair{block / side, block % side};
      const float* left = weights(PairPlan::side * at.first);
      const float* right = weights((groups_.one_group() ? 0 : plan_.group) + PairPlan::side * at.second);
      double* sums = sums_ + item * PairPlan::pair_block;
      if (groups_.one_group() && at.one_group()) {
        add_pairs<true>(left, right, slice, vectors, sums);
      } else {
        add_pairs<false>(left, right, slice, vectors, sums);
      }
    }
  }

  /// The weights of one head on 16 rows and 16 keys.
  HEADSCOPE_DEVICE void weigh(int local, int row, int first, int unit) const {
    const int64_t head = head_of(local);
    const int first_key = first + unit * PairPlan::unit_keys;
    const int g = lane_index() / quad, t = lane_index() % quad;
    const GlobalRow queries[2] = {query_numbers(p_.in, head, row + g), query_numbers(p_.in, head, row + g + 8)};
    float dots[2][4];
    multiply_rows<kPlanes>(p_.in, p_.readers, p_.in.kv_head(head), queries, first_key, dots);
    const KnownRow rows[2] = {KnownRow::of(p_.in, head, row + g), KnownRow::of(p_.in, head, row + g + 8)};
    float* to = weights(local) + unit * PairPlan::tile_rows * PairPlan::unit_keys + lane_index();
    HEADSCOPE_UNROLL
    for (int n = 0; n < 2; ++n) {
      HEADSCOPE_UNROLL
      for (int i = 0; i < 4; ++i) {
        const int64_t key = first_key + 8 * n + 2 * t + i % 2;
        to[(4 * n + i) * warp_size] = Term::weight(rows[i / 2].log2_weight(p_.in.problem, dots[n][i], key));
      }
    }
  }

  /// 8 heads against 8 others: a lane has a cell of all of them at a time. kDiagonal: the same 8, each pair once.
  template <bool kDiagonal>
  HEADSCOPE_DEVICE void add_pairs(const float* left, const float* right, int slice, int vectors, double* sums) const {
    float pairs[PairPlan::pair_block];
    HEADSCOPE_UNROLL
    for (int i = 0; i < PairPlan::pair_block; ++i) pairs[i] = 0;
    const int cells = plan_.tile_cells();
    for (int vector = slice; vector < vectors; vector += plan_.slices) {
      const int cell = vector * warp_size + lane_index();
      float p[PairPlan::side], q[PairPlan::side];
      HEADSCOPE_UNROLL
      for (int i = 0; i < PairPlan::side; ++i) p[i] = left[i * cells + cell], q[i] = right[i * cells + cell];
      HEADSCOPE_UNROLL
      for (int i = 0; i < PairPlan::side; ++i) {
        HEADSCOPE_UNROLL
        for (int j = kDiagonal ? i : 0; j < PairPlan::side; ++j) {
          pairs[PairPlan::side * i + j] = Term::add(pairs[PairPlan::side * i + j], p[i], q[j]);
        }
      }
    }
    sum_over_lanes(pairs);
    sums[2 * lane_index()] += double{pairs[0]};
    sums[2 * lane_index() + 1] += double{pairs[1]};
  }

  /// Lane l gets the sums over all lanes of numbers 2l and 2l + 1: at each turn a lane gives half of its numbers away
  /// and adds what it gets for the others.
  template <int kKept = 32>
  static HEADSCOPE_DEVICE void sum_over_lanes(float (&numbers)[PairPlan::pair_block]) {
    constexpr int mask = kKept / 2;
    const bool upper = (lane_index() & mask) != 0;
    HEADSCOPE_UNROLL
    for (int i = 0; i < kKept; ++i) {
      const float given = upper ? numbers[i] : numbers[i + kKept];
      const float kept = upper ? numbers[i + kKept] : numbers[i];
      numbers[i] = kept + shuffle_xor(given, mask);
    }
    if constexpr (kKept > 2) sum_over_lanes<kKept / 2>(numbers);
  }

  const PairParams& p_;
  const PairPlan& plan_;
  const GroupPair groups_;
  float* weights_;
  double* sums_;
};

template <class Term, int kPlanes>
HEADSCOPE_KERNEL void HEADSCOPE_LAUNCH_BOUNDS(threads, 2) sum_pairs(PairParams p) {
  PairBlock<Term, kPlanes>(p).run();
}

/// Starts the launch's tiles: a block for each part that has one.
template <class Term>
bool start(const char* name, const PairParams& p, PacedLaunches& launches) {
  const PairPlan& plan = p.plan;
  const auto parts = static_cast<unsigned>(std::min<int64_t>(plan.parts, p.tiles));
  return launches.start(name, is_plain_bf16(p.in.problem) ? sum_pairs<Term, 1> : sum_pairs<Term, 3>,
                        {parts, static_cast<unsigned>(plan.group_pairs())}, threads, plan.shared_bytes(), p,
                        plan.tile_work * p.tiles);
}

/// What a tile takes, in multiply-adds of the tensor cores at the speed that PacedLaunches reckons with. There a launch
/// is 4 ms of an H200. In as long its special function units make 1.5e10 logarithms (16 a clock and multiprocessor),
/// and its other units 6e10 terms of two instructions.
double work_of_tile(const PairPlan& plan, const AttentionProblem& p, DivergenceEstimator estimator) {
  const double term = estimator == DivergenceEstimator::exact ? 27 : 7;
  const double heads = double{1} * plan.group * plan.groups, weighed = heads * plan.groups;
  const double products = is_plain_bf16(p) ? 1 : plane_pairs<3>();
  return plan.tile_cells() * (heads * (heads + 1) / 2 * term +
                              weighed * static_cast<double>(padded_dim(p.key_dim)) * products * slow_reads);
}

}  // namespace

PairPlan PairPlan::in_groups_of(int group, int64_t heads) {
  PairPlan plan;
  plan.heads = heads;
  plan.group = group;
  plan.groups = static_cast<int>((heads + group - 1) / group);
  plan.tile_keys = most_tile_keys;
  while (plan.tile_keys > unit_keys && plan.tile_keys * plan.local_heads() > weights_kept) plan.tile_keys /= 2;
  const int blocks = plan.group_blocks();
  plan.pair_blocks = plan.groups > 1 ? blocks * blocks : blocks * (blocks + 1) / 2;
  plan.slices = 1;
  while (plan.slices < 8 && plan.slices * plan.pair_blocks < 3 * warps) plan.slices *= 2;
  return plan;
}

PairPlan PairPlan::of(const AttentionProblem& p, const DivergenceRequest& request, const DeviceLimits& limits) {
  const auto all = std::min<int64_t>((p.q_heads + side - 1) / side * side, most_group);
  PairPlan plan = in_groups_of(static_cast<int>(all), p.q_heads);
  for (int group = most_group / 2; plan.shared_bytes() > limits.block_bytes && group >= side; group /= 2) {
    plan = in_groups_of(group, p.q_heads);
  }
  for (int64_t row = request.row_begin; row < request.row_end; row += tile_rows) {
    plan.tiles += plan.tiles_of(seen_from({p, nullptr, nullptr, request}, static_cast<int>(row)));
  }
  plan.parts = std::clamp<int64_t>(multiprocessor_blocks * limits.multiprocessors / plan.group_pairs(), 1,
                                   std::max<int64_t>(plan.tiles, 1));
  plan.tile_work = work_of_tile(plan, p, request.estimator);
  return plan;
}

/// A lane adds a share of a tile's cells, and then 5 times another lane's sum; the rest is in double.
PairRoundings pair_roundings(const PairPlan& plan, DivergenceEstimator estimator) {
  const double added = static_cast<double>(plan.tile_cells()) / warp_size / plan.slices + 5;
  if (estimator == DivergenceEstimator::hellinger) return {added + 3, 0};  // p - q, its square: relative
  // m log2(m): 4 roundings of the logarithm and one of the product. What m and a logarithm near 1 are off by does not
  // shrink with the term: (1 / ln 2 + 4) m, where the m of a row add up to 1.
  return {added + 6, 6};
}

bool start_pair_sums(const DivergenceInputs& in, const PairPlan& plan, double* sums, PacedLaunches& launches) {
  PairParams params{in, DivergenceReaders::of(in.problem), plan, sums};
  if (plan.tiles == 0) launches.clear("sums of no tiles", sums, static_cast<size_t>(plan.sums()) * sizeof(double));
  int64_t at_once = launches.at_once(plan.tile_work, plan.tiles);
  if (at_once > plan.parts && at_once < plan.tiles) at_once -= at_once % plan.parts;  // as much for each
  params.first_row = static_cast<int>(in.request.row_begin);
  for (; params.first_tile < plan.tiles; params.first_tile += params.tiles) {
    params.tiles = static_cast<int>(std::min(at_once, plan.tiles - params.first_tile));
    const bool goes_on = in.request.estimator == DivergenceEstimator::exact
                             ? start<ExactTerm>("divergence, exact", params, launches)
                             : start<HellingerTerm>("divergence, Hellinger", params, launches);
    if (!goes_on) return false;
    params.skipped_tiles += params.tiles;
    const auto tiles_of_row = [&] { return plan.tiles_of(PairPlan::seen_from(in, params.first_row)); };
    while (params.first_row < in.request.row_end && params.skipped_tiles >= tiles_of_row()) {
      params.skipped_tiles -= tiles_of_row();
      params.first_row += PairPlan::tile_rows;
    }
  }
  return true;
}

}  // namespace headscope::cuda
