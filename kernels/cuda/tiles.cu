// Rectangles of heads' maps at any zoom. A block has some rows of queries, one or two groups of 64 that each lie in
// whole cells or in a part of one, and takes the keys of its part of the tile in pieces of 64.
// - Cells of one place are the weights.
// - Cells below 64 are pooled in shared memory, from the weights of a piece.
// - Larger ones are summed in registers, piece after piece. Above 64 a cell has several groups of rows, and above 1,024
//   several runs of keys; tile_parts_kernel adds up what the workspace holds of them.

#include <algorithm>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/known_weights.cuh"
#include "kernels/cuda/paced_launches.h"
#include "kernels/cuda/tuning.h"

namespace headscope::cuda {
namespace {

constexpr int tile_threads = 128, tile_warps = tile_threads / warp_size;
constexpr int group_rows = 16 * tile_warps;  ///< a warp has 16 rows of each group
constexpr int key_blocks = piece_rows / 8;   ///< blocks of 8 keys, all in each warp
constexpr int run_pieces = 16;               ///< pieces of a cell that one block sums
constexpr int most_jobs = 32;                ///< requests of one launch

/// One request. A run of keys is a piece that holds whole cells, or up to run_pieces pieces of one cell.
struct TileJob {
  float* cells = nullptr;
  double* parts = nullptr;  ///< [pieces of rows][runs]: of cells that have several; null: cells are written at once
  CellCut rows, keys;
  int batch = 0, head = 0;
  bool mean = false;
  int block_runs = 1;   ///< runs that a block takes
  int first_block = 0;  ///< the job's first among the blocks of all jobs
  int first_cell = 0;   ///< the same among the cells that have parts

  HEADSCOPE_HOST_DEVICE int runs_of_cell() const {
    return static_cast<int>(ceil_div(keys.pieces_of_cell(), run_pieces));
  }
  HEADSCOPE_HOST_DEVICE int runs() const { return keys.whole() ? keys.pieces() : keys.cells() * runs_of_cell(); }
  HEADSCOPE_HOST_DEVICE int first_piece(int run) const {
    const int cell = run / runs_of_cell();
    return cell * keys.pieces_of_cell() + (run - cell * runs_of_cell()) * run_pieces;
  }
  HEADSCOPE_HOST_DEVICE int run_of(int piece) const {
    const int cell = piece / keys.pieces_of_cell();
    return cell * runs_of_cell() + (piece - cell * keys.pieces_of_cell()) / run_pieces;
  }
  HEADSCOPE_HOST_DEVICE int columns_of_blocks() const { return static_cast<int>(ceil_div(runs(), block_runs)); }
  HEADSCOPE_HOST_DEVICE int blocks(int groups) const {
    return static_cast<int>(ceil_div(rows.pieces(), groups)) * columns_of_blocks();
  }
  /// A cell's value: `pooled` is the sum of its weights, or the largest.
  HEADSCOPE_HOST_DEVICE float value_of(double pooled, int row, int column) const {
    return static_cast<float>(
        mean ? pooled / (static_cast<double>(rows.width(row)) * static_cast<double>(keys.width(column))) : pooled);
  }
};

struct TileParams {
  AttentionProblem problem;
  const float* row_max = nullptr;
  const float* log_sum = nullptr;
  ScoreShape shape;
  int jobs = 0;
  int first_block = 0;  ///< of this launch
  TileJob job[most_jobs];
};
static_assert(sizeof(TileParams) <= 4096);

/// Sum or maximum, with NaN above all.
HEADSCOPE_DEVICE double pool_two(bool mean, double a, double b) {
  if (mean) return a + b;
  return b > a || b != b ? b : a;
}

/// What one block does.
template <int kPlanes, int kGroups>
class TileBlock {
 public:
  HEADSCOPE_DEVICE TileBlock(const TileParams& params, const TileJob& job, int block)
      : p_(params.problem),
        shape_(params.shape),
        job_(job),
        first_group_(block / job.columns_of_blocks() * kGroups),
        end_group_(static_cast<int>(smaller(first_group_ + kGroups, job.rows.pieces()))),
        first_run_(block % job.columns_of_blocks() * job.block_runs),
        end_run_(static_cast<int>(smaller(first_run_ + job.block_runs, job.runs()))),
        rows_(*reinterpret_cast<KnownRows<kGroups * group_rows>*>(shared_memory() + shape_.bytes())),
        weights_{reinterpret_cast<float*>(shared_memory() + shape_.bytes() + sizeof(rows_)), piece_rows + 1} {
    find_pieces();
    rows_.fill(p_, job.batch * p_.q_heads + job.head, params.row_max, params.log_sum,
               [&](int place) { return row_at(place); });
  }

  HEADSCOPE_DEVICE void run() {
    clear_unseen();
    const HeadRows queries = HeadRows::queries(p_, job_.batch, job_.head);
    const HeadRows keys = HeadRows::keys(p_, job_.batch, job_.head);
    const SharedPlanes kept = shape_.kept_in(shared_memory());
    const int chunks = shape_.chunks();
    const auto load = [&](int step, int stage) {
      const int first_dim = step % chunks * shape_.chunk;
      if (step == 0 || chunks > 1) {
        load_rows<kPlanes>(shape_.kept_copied, kept, queries, first_dim, [&](int place) { return row_at(place); });
      }
      const KeyRange range = job_.keys.range(first_piece_ + step / chunks);
      load_rows<kPlanes>(shape_.passing_copied, shape_.passing_in(shared_memory(), stage), keys, first_dim,
                         [&](int place) { return range.begin + place < range.end ? range.begin + place : -1; });
    };
    ScoreSums<kPlanes, kGroups, key_blocks> sums;
    for_each_step((end_piece_ - first_piece_) * chunks, shape_.in_background(), load, [&](int step, int stage) {
      if (step % chunks == 0) sums.clear();
      sums.add(kept, 16 * warp_index(), group_rows, shape_.passing_in(shared_memory(), stage), 0,
               shape_.steps(step % chunks));
      if (step % chunks < chunks - 1) return;
      add_piece(first_piece_ + step / chunks, sums.dots);
    });
  }

 private:
  /// The row that is kept at a place; -1: none.
  HEADSCOPE_DEVICE int64_t row_at(int place) const {
    const int group = first_group_ + place / group_rows;
    if (group >= end_group_) return -1;
    const KeyRange range = job_.rows.range(group);
    const int64_t row = range.begin + place % group_rows;
    return row < range.end ? row : -1;
  }

  /// The pieces that any row of the block sees.
  HEADSCOPE_DEVICE void find_pieces() {
    first_piece_ = job_.first_piece(first_run_);
    end_piece_ = end_run_ < job_.runs() ? job_.first_piece(end_run_) : job_.keys.pieces();
    const KeyRange first = job_.rows.range(first_group_), last = job_.rows.range(end_group_ - 1);
    const KeyRange seen = keys_of_any(p_, first.begin, larger(first.end, last.end) - 1);
    if (first.empty()) end_piece_ = first_piece_;
    while (first_piece_ < end_piece_ && job_.keys.range(first_piece_).end <= seen.begin) ++first_piece_;
    while (first_piece_ < end_piece_ && job_.keys.range(end_piece_ - 1).begin >= smaller(seen.end, job_.keys.end)) {
      --end_piece_;
    }
  }

  /// Zeros for the runs that no row sees.
  HEADSCOPE_DEVICE void clear_unseen() const {
    if (first_piece_ >= end_piece_) return clear_runs(first_run_, end_run_);
    clear_runs(first_run_, job_.run_of(first_piece_));
    clear_runs(job_.run_of(end_piece_ - 1) + 1, end_run_);
  }
  HEADSCOPE_DEVICE void clear_runs(int begin, int end) const {
    if (begin >= end) return;
    if (job_.parts) {
      for (int i = thread_index(); i < (end - begin) * (end_group_ - first_group_); i += block_threads()) {
        *part(first_group_ + i / (end - begin), begin + i % (end - begin)) = 0;
      }
      return;
    }
    const int first = job_.keys.first_cell(job_.first_piece(begin));
    const int columns =
        static_cast<int>(
            smaller(job_.keys.first_cell(job_.first_piece(end - 1)) + job_.keys.cells_of_piece(), job_.keys.cells())) -
        first;
    const int first_row = job_.rows.first_cell(first_group_);
    const int rows = static_cast<int>(smaller(job_.rows.first_cell(end_group_ - 1) + job_.rows.cells_of_piece(),
                                              job_.rows.cells())) -
                     first_row;
    for (int i = thread_index(); i < rows * columns; i += block_threads()) {
      *cell(first_row + i / columns, first + i % columns) = 0;
    }
  }

  HEADSCOPE_DEVICE float* cell(int row, int column) const {
    return job_.cells + int64_t{row} * job_.keys.cells() + column;
  }
  HEADSCOPE_DEVICE double* part(int group, int run) const { return job_.parts + int64_t{group} * job_.runs() + run; }

  HEADSCOPE_DEVICE void add_piece(int piece, float (&dots)[kGroups][key_blocks][4]) {
    weigh(p_, rows_, 16 * warp_index(), group_rows, job_.keys.range(piece), piece_rows, 0, dots);
    if (job_.keys.bin == 1) {
      write_weights(piece, dots);
    } else if (job_.keys.whole()) {
      pool_cells(piece, dots);
    } else {
      add_to_sums(dots);
      if (piece + 1 == end_piece_ || job_.run_of(piece + 1) != job_.run_of(piece)) finish_run(job_.run_of(piece));
    }
  }

  HEADSCOPE_DEVICE static int row_place(int r, int i) {
    return r * group_rows + 16 * warp_index() + row_in_fragment(i);
  }
  HEADSCOPE_DEVICE static int column(int n, int i) { return 8 * n + column_in_fragment(i); }

  HEADSCOPE_DEVICE void write_weights(int piece, const float (&weights)[kGroups][key_blocks][4]) const {
    const KeyRange range = job_.keys.range(piece);
    const auto width = static_cast<int>(range.end - range.begin),
               first = static_cast<int>(range.begin - job_.keys.origin);
    HEADSCOPE_UNROLL
    for (int r = 0; r < kGroups; ++r) {
      HEADSCOPE_UNROLL
      for (int half = 0; half < 2; ++half) {
        const int64_t row = row_at(row_place(r, 2 * half));
        if (row < 0) continue;
        float* const to = cell(static_cast<int>(row - job_.rows.origin), first);
        HEADSCOPE_UNROLL
        for (int n = 0; n < key_blocks; ++n) {
          for (int i = 2 * half; i < 2 * half + 2; ++i) {
            if (column(n, i) < width) to[column(n, i)] = weights[r][n][i];
          }
        }
      }
    }
  }

  /// Cells that lie in the piece.
  HEADSCOPE_DEVICE void pool_cells(int piece, const float (&weights)[kGroups][key_blocks][4]) const {
    HEADSCOPE_UNROLL
    for (int r = 0; r < kGroups; ++r) {
      HEADSCOPE_UNROLL
      for (int n = 0; n < key_blocks; ++n) {
        HEADSCOPE_UNROLL
        for (int i = 0; i < 4; ++i) {
          weights_.row(row_place(r, i))[column(n, i)] = weights[r][n][i];
        }
      }
    }
    const int bin = job_.keys.bin, side = job_.keys.cells_of_piece();
    block_barrier();
    weights_.pool_columns(kGroups * group_rows, side, bin);
    block_barrier();
    for (int i = thread_index(); i < kGroups * side * side; i += block_threads()) {
      const int group = i / (side * side), inside = i / side % side, across = i % side;
      const int row = job_.rows.first_cell(first_group_ + group) + inside;
      const int column = job_.keys.first_cell(piece) + across;
      if (row >= job_.rows.cells() || column >= job_.keys.cells()) continue;
      const int place = group * group_rows + inside * bin;
      const double pooled = job_.mean ? weights_.sum_of_rows(place, bin, across * bin)
                                      : double{weights_.peak_of_rows(place, bin, across * bin)};
      *cell(row, column) = job_.value_of(pooled, row, column);
    }
  }

  HEADSCOPE_DEVICE void add_to_sums(const float (&weights)[kGroups][key_blocks][4]) {
    HEADSCOPE_UNROLL
    for (int r = 0; r < kGroups; ++r) {
      float sum = 0;
      HEADSCOPE_UNROLL
      for (int n = 0; n < key_blocks; ++n) {
        HEADSCOPE_UNROLL
        for (int i = 0; i < 4; ++i) {
          sum += weights[r][n][i];
          peaks_[r] = higher(peaks_[r], weight_bits(weights[r][n][i]));
        }
      }
      sums_[r] += double{sum};
    }
  }

  /// Writes what the block has of a cell, and starts anew.
  HEADSCOPE_DEVICE void finish_run(int run) {
    auto* const of_warps = reinterpret_cast<double*>(weights_.data);  // [kGroups][tile_warps]
    HEADSCOPE_UNROLL
    for (int r = 0; r < kGroups; ++r) {
      const double pooled = job_.mean ? warp_sum(sums_[r]) : double{float_of_bits(warp_peak(peaks_[r]))};
      if (lane_index() == 0) of_warps[r * tile_warps + warp_index()] = pooled;
      sums_[r] = 0;
      peaks_[r] = 0;
    }
    block_barrier();
    const int group = first_group_ + thread_index();
    if (group >= end_group_) return;
    double pooled = 0;
    for (int warp = 0; warp < tile_warps; ++warp) {
      pooled = pool_two(job_.mean, pooled, of_warps[thread_index() * tile_warps + warp]);
    }
    if (job_.parts) {
      *part(group, run) = pooled;
    } else {
      *cell(group, run) = job_.value_of(pooled, group, run);
    }
  }

  const AttentionProblem& p_;
  const ScoreShape& shape_;
  const TileJob& job_;
  const int first_group_, end_group_;  ///< pieces of rows
  const int first_run_, end_run_;
  int first_piece_ = 0, end_piece_ = 0;
  KnownRows<kGroups * group_rows>& rows_;
  const WeightTile weights_;
  double sums_[kGroups] = {};
  uint32_t peaks_[kGroups] = {};
};

template <int kPlanes, int kGroups>
HEADSCOPE_KERNEL void HEADSCOPE_LAUNCH_BOUNDS(tile_threads, 2) tile_kernel(HEADSCOPE_PARAMS TileParams p) {
  const int block = p.first_block + static_cast<int>(block_index().x);
  int job = 0;
  while (job + 1 < p.jobs && p.job[job + 1].first_block <= block) ++job;
  TileBlock<kPlanes, kGroups>(p, p.job[job], block - p.job[job].first_block).run();
}

/// A warp adds up the parts of one cell.
HEADSCOPE_KERNEL void HEADSCOPE_LAUNCH_BOUNDS(tile_threads, 4) tile_parts_kernel(HEADSCOPE_PARAMS TileParams p) {
  const int index = static_cast<int>(block_index().x) * tile_warps + warp_index();
  int which = 0;
  while (which + 1 < p.jobs && p.job[which + 1].first_cell <= index) ++which;
  const TileJob& job = p.job[which];
  if (!job.parts || index - job.first_cell >= job.rows.cells() * job.keys.cells()) return;
  const int row = (index - job.first_cell) / job.keys.cells(), column = (index - job.first_cell) % job.keys.cells();
  const int runs = job.runs_of_cell();
  const double* const first =
      job.parts + int64_t{row} * job.rows.pieces_of_cell() * job.runs() + int64_t{column} * runs;
  double pooled = 0;
  for (int i = lane_index(); i < job.rows.pieces_of_cell() * runs; i += warp_size) {
    pooled = pool_two(job.mean, pooled, first[int64_t{i / runs} * job.runs() + i % runs]);
  }
  for (int mask = warp_size / 2; mask > 0; mask /= 2) {
    pooled = pool_two(job.mean, pooled, shuffle_xor(pooled, mask));
  }
  if (lane_index() == 0) {
    job.cells[int64_t{row} * job.keys.cells() + column] = job.value_of(pooled, row, column);
  }
}

// --- the host's side ---------------------------------------------------------------------------------------------

TileJob job_of(const TileRequest& request, float* cells) {
  const int64_t most = larger(request.row_end - request.row_begin, request.key_end - request.key_begin);
  const auto bin = static_cast<int>(smaller(request.bin, larger(most, 1)));  // a larger one makes the same cell
  TileJob job;
  job.cells = cells;
  job.rows = {request.row_begin, request.row_end, bin, group_rows};
  job.keys = {request.key_begin, request.key_end, bin, piece_rows};
  job.batch = static_cast<int>(request.batch);
  job.head = static_cast<int>(request.q_head);
  job.mean = request.pooling == Pooling::mean;
  return job;
}

/// Numbers in the workspace.
size_t parts_of(const TileJob& job) {
  if (job.keys.bin <= piece_rows) return 0;
  return static_cast<size_t>(job.rows.pieces()) * static_cast<size_t>(job.runs());
}

/// Up to most_jobs requests and how they are cut into blocks.
struct TilePlan {
  TileParams params = {};
  int groups = 1;         ///< of 64 rows, in a block
  int blocks = 0;         ///< of all jobs
  int cells = 0;          ///< that have parts
  double block_work = 0;  ///< multiply-adds of the largest block
  DeviceLimits limits = current_limits();

  TilePlan(const AttentionProblem& p, const float* row_max, const float* log_sum) {
    params.problem = p;
    params.row_max = row_max;
    params.log_sum = log_sum;
  }

  void add(const TileJob& job) { params.job[params.jobs++] = job; }
  bool full() const { return params.jobs == most_jobs; }

  void cut();
  size_t shared_bytes() const { return params.shape.bytes() + extra_bytes(groups); }

 private:
  /// Of what is known of the rows, and of the pool of weights, or the sums of the warps.
  size_t extra_bytes(int of_groups) const {
    bool pools = false;
    for (int i = 0; i < params.jobs; ++i) pools = pools || (params.job[i].keys.whole() && params.job[i].keys.bin > 1);
    const size_t pool = static_cast<size_t>(of_groups * group_rows * (piece_rows + 1)) * sizeof(float);
    const size_t sums = static_cast<size_t>(of_groups * tile_warps) * sizeof(double);
    return (of_groups == 1 ? sizeof(KnownRows<group_rows>) : sizeof(KnownRows<2 * group_rows>)) + (pools ? pool : sums);
  }
  ScoreShape shape_for(int of_groups) const {
    return ScoreShape::of(params.problem, of_groups * group_rows, false, extra_bytes(of_groups), limits);
  }
};

/// Small requests get many small blocks, large ones blocks that use what they load more often. No cell depends on it.
void TilePlan::cut() {
  double pieces = 0;
  for (int i = 0; i < params.jobs; ++i) {
    pieces += static_cast<double>(params.job[i].rows.pieces()) * static_cast<double>(params.job[i].keys.pieces());
  }
  const int enough_blocks = filling_blocks(limits, tuning::map_blocks);
  params.shape = shape_for(2);
  groups = pieces > 2 * enough_blocks && params.shape.one_plane() && params.shape.chunks() == 1 ? 2 : 1;
  params.shape = shape_for(groups);
  const auto block_pieces = static_cast<int>(std::clamp(pieces / (groups * enough_blocks), 1.0, double{run_pieces}));
  for (int i = 0; i < params.jobs; ++i) {
    TileJob& job = params.job[i];
    const int run = static_cast<int>(smaller(job.keys.pieces_of_cell(), run_pieces));
    job.block_runs = static_cast<int>(larger(1, block_pieces / run));
    job.first_block = blocks;
    job.first_cell = cells;
    blocks += job.blocks(groups);
    if (job.parts) cells += job.rows.cells() * job.keys.cells();
    const double products = params.shape.kept_planes * params.shape.passing_planes;
    block_work =
        std::max(block_work, products * params.shape.dim * groups * group_rows * piece_rows * run * job.block_runs);
  }
}

auto tile_kernel_of(const TilePlan& plan) {
  if (!plan.params.shape.one_plane()) return tile_kernel<3, 1>;  // two groups would take too many registers
  return plan.groups == 1 ? tile_kernel<1, 1> : tile_kernel<1, 2>;
}

bool start(TilePlan& plan, PacedLaunches& launches) {
  plan.cut();
  const auto at_once = static_cast<int>(launches.at_once(plan.block_work, plan.blocks));
  for (plan.params.first_block = 0; plan.params.first_block < plan.blocks; plan.params.first_block += at_once) {
    const auto count = static_cast<unsigned>(std::min(at_once, plan.blocks - plan.params.first_block));
    if (!launches.start("tiles", tile_kernel_of(plan), {count}, tile_threads, plan.shared_bytes(), plan.params,
                        plan.block_work * count)) {
      return false;
    }
  }
  if (plan.cells == 0) return true;
  const auto count = static_cast<unsigned>(ceil_div(plan.cells, tile_warps));
  return launches.start("parts of tiles", tile_parts_kernel, {count}, tile_threads, 0, plan.params, 0);
}

}  // namespace

size_t tiles_workspace(const AttentionProblem&, std::span<const TileRequest> requests, int) {
  size_t parts = 0;
  for (const TileRequest& request : requests) parts += parts_of(job_of(request, nullptr));
  return parts * sizeof(double);
}

bool tiles(const AttentionProblem& p, const float* row_max, const float* log_sum, std::span<const TileRequest> requests,
           std::span<float* const> cells, std::span<std::byte> workspace, const ParallelFor& parallel,
           std::stop_token stop) {
  refuse_lengths(p, "tiles");
  PacedLaunches launches(parallel, stop);
  auto* parts = reinterpret_cast<double*>(workspace.data());
  TilePlan plan(p, row_max, log_sum);
  for (size_t i = 0; i < requests.size(); ++i) {
    TileJob job = job_of(requests[i], cells[i]);
    if (parts_of(job) > 0) job.parts = parts;
    parts += parts_of(job);
    if (requests[i].rows() > 0 && requests[i].columns() > 0) plan.add(job);
    if (plan.full() || i + 1 == requests.size()) {
      if (!start(plan, launches)) return false;
      plan = TilePlan(p, row_max, log_sum);
    }
  }
  return !stop.stop_requested();
}

}  // namespace headscope::cuda
