#include "kernels/cuda/few_rows.h"

#include <algorithm>

#include "kernels/cuda/few_rows_partials.cuh"
#include "kernels/cuda/few_rows_softmax.cuh"
#include "kernels/cuda/few_rows_values.cuh"

namespace headscope::cuda {
namespace {

// Blocks: those of rows that read one KV head, times splits of the keys. The warps of a block share one tile of keys:
// each multiplies some 16 x 16 scores of it, then groups of threads take the rows through the softmax, and then each
// warp multiplies the weights of all rows with its part of the value columns.

/// What a block computes.
struct BlockWork {
  CacheRows cache;     ///< and of it the keys that the block's rows see and its split holds
  int64_t first = 0;   ///< of the rows of the KV head
  int64_t splits = 1;  ///< that the keys are cut into
  KeyRange captured;   ///< whose raw scores the block writes
  int64_t begin = 0;   ///< of the split
  HEADSCOPE_DEVICE bool exists() const { return block_index().y < splits; }

  HEADSCOPE_DEVICE static BlockWork of(const AttentionProblem& p, const SplitPlan& plan, int rows) {
    const int64_t row_blocks = ceil_div(rows_of_kv_head(p), rows), head = block_index().x / row_blocks;
    const int64_t split = block_index().y;
    BlockWork work;
    work.first = block_index().x % row_blocks * rows;
    const int64_t last = work.first + rows < rows_of_kv_head(p) ? work.first + rows - 1 : rows_of_kv_head(p) - 1;
    const KeyRange seen = keys_of_any(p, work.first / group_of(p), last / group_of(p));
    work.cache = {head / p.kv_heads, head % p.kv_heads, common(plan.split(split), seen)};
    work.splits = plan.count;
    work.captured = plan.bounds(split);
    work.begin = work.captured.begin;
    if (split == 0) work.captured.begin = 0;
    if (split == plan.count - 1) work.captured.end = p.kv_len;
    return work;
  }
};

template <int kPlanes, int kRowTiles, int kSteps>
class FewRowsBlock {
 public:
  static constexpr int warps = kRowTiles == 1 ? 4 : 8;
  static constexpr int threads = warps * warp_size;

  HEADSCOPE_DEVICE FewRowsBlock(const FewRowsParams& params, const AttentionProblem& p, const BlockWork& work)
      : params_(params), p_(p), work_(work), tiles_{params.tiles, shared_memory()} {
    first_tile_ = work.cache.keys.begin / tile_keys() * tile_keys();
    if (work.cache.keys.empty()) return;
    tile_count_ = static_cast<int>((work.cache.keys.end - 1) / tile_keys() - first_tile_ / tile_keys()) + 1;
  }

  HEADSCOPE_DEVICE void run() {
    start();
    if (params_.output.scores.data) capture_unseen();
    int stage = 0;
    for (int tile = 0; tile < tile_count_; ++tile) {
      take_tile(tile, stage);
      tiles_.marks().clear();
      multiply_keys(stage);
      block_barrier();
      weigh(tile);
      block_barrier();
      if (with_values()) add_values(stage, first_key(tile));
      stage = stage + 1 < params_.tiles.stages ? stage + 1 : 0;
    }
    write_results();
  }

 private:
  static constexpr int lanes = threads / (tile_rows * kRowTiles);  ///< that look after one row

  HEADSCOPE_DEVICE int tile_keys() const { return params_.tiles.tile_keys; }
  HEADSCOPE_DEVICE int64_t first_key(int tile) const { return first_tile_ + int64_t{tile} * tile_keys(); }
  HEADSCOPE_DEVICE bool with_values() const { return params_.output.out.data != nullptr; }
  /// The row that the thread looks after, with its neighbours.
  HEADSCOPE_DEVICE int own_index() const { return thread_index() / lanes; }
  HEADSCOPE_DEVICE bool leads_row() const { return thread_index() % lanes == 0; }

  // --- keys and values come ------------------------------------------------------------------------------------

  /// The first copies, rows, and their queries.
  HEADSCOPE_DEVICE void start() {
    for (int tile = 0; params_.tiles.copied && tile < params_.tiles.stages - 1; ++tile) start_copies(tile, tile);
    if (leads_row()) {
      BlockRow row;
      const int64_t at = work_.first + own_index();
      if (at < rows_of_kv_head(p_)) {
        const GroupRow place = group_row(p_, work_.cache.kv_head, at);
        row.query = query_row(p_, place.head, place.row);
        if (with_values()) row.out = params_.sums_of(p_, work_.cache.batch, row.query, block_index().y);
      }
      tiles_.row(own_index()) = row;
    }
    block_barrier();
    const auto row_of = [&](int index) {
      const QueryRow& row = tiles_.row(index).query;
      return row.exists() ? global_row(p_.q, work_.cache.batch, row.head, row.row) : GlobalRow{};
    };
    fill_planes<kPlanes>(tiles_.queries(), p_.key_dim, row_of,
                         [](int, const GlobalRow& row, int dim) { return row.at(dim); });
  }

  HEADSCOPE_DEVICE void start_copies(int tile, int stage) {
    if (tile < tile_count_) {
      copy_tile(tiles_.stored_keys(stage), p_, p_.k, p_.key_dim, work_.cache, first_key(tile));
      if (with_values() && !params_.tiles.values_in_keys) {
        copy_tile(tiles_.values(stage), p_, p_.v, p_.value_dim, work_.cache, first_key(tile));
      }
    }
    commit_copies();  // of a tile that does not exist, too: groups are counted
  }

  HEADSCOPE_DEVICE void fill(int64_t first) {
    fill_tile<kPlanes>(tiles_.stored_keys(0), p_, p_.k, p_.key_dim, work_.cache, first, !params_.tiles.turned);
    if (with_values() && !params_.tiles.values_in_keys) {
      fill_tile<kPlanes>(tiles_.values(0), p_, p_.v, p_.value_dim, work_.cache, first, false);
    }
  }

  /// Copies of all stages but one are under way: waits for the first of them.
  HEADSCOPE_DEVICE static void wait_for_oldest(int stages) {
    static_assert(tuning::few_rows_stages == 2 || tuning::few_rows_stages == 3 || tuning::few_rows_stages == 4);
    if (tuning::few_rows_stages > 3 && stages > 3) {
      wait_for_copies<2>();
    } else if (stages > 2) {
      wait_for_copies<1>();
    } else {
      wait_for_copies<0>();
    }
  }

  /// Brings a tile to its stage, for all threads to read.
  HEADSCOPE_DEVICE void take_tile(int tile, int stage) {
    const TilePlan& plan = params_.tiles;
    if (plan.copied) wait_for_oldest(plan.stages);
    block_barrier();  // and nobody reads the tile before this one any more
    if (plan.copied) {
      start_copies(tile + plan.stages - 1, stage > 0 ? stage - 1 : plan.stages - 1);
    } else {
      fill(first_key(tile));
      block_barrier();
    }
    if constexpr (kPlanes == 3) {
      if (!plan.turned) return;
      turn_tile(tiles_.keys(stage), tiles_.stored_keys(stage), p_, work_.cache, first_key(tile));
      block_barrier();
    }
  }

  // --- scores and weights --------------------------------------------------------------------------------------

  HEADSCOPE_DEVICE void multiply_keys(int stage) {
    const SharedPlanes queries = tiles_.queries(), keys = tiles_.keys(stage);
    const int g = lane_index() / 4;
    for (int item = warp_index(); item < kRowTiles * (tile_keys() / 16); item += warps) {
      const int row = item % kRowTiles * tile_rows, key = item / kRowTiles * 16;
      float dots[2][4];
      multiply_scores<kPlanes>(queries, row, keys, key, dots);
      HEADSCOPE_UNROLL
      for (int i = 0; i < 8; ++i) {
        tiles_.scores(row + g + i / 2 % 2 * 8)[key + tile_column(i / 4, i % 2)] = dots[i / 4][i % 4];
      }
    }
  }

  /// Raw scores of keys that are in no tile of the block.
  HEADSCOPE_DEVICE void capture_unseen() {
    const QueryRow& row = tiles_.row(own_index()).query;
    if (!row.exists()) return;
    float* scores = output_row(params_.output.scores, work_.cache.batch, row.head, row.row);
    for (int64_t key = work_.captured.begin + thread_index() % lanes; key < work_.captured.end; key += lanes) {
      if (key < first_tile_ || key >= first_key(tile_count_)) scores[key] = minus_infinity();
    }
  }
  HEADSCOPE_DEVICE void capture(const QueryRow& row, const LaneScores<lanes>& own, int64_t first) {
    if (!row.exists()) return;
    float* scores = output_row(params_.output.scores, work_.cache.batch, row.head, row.row) + first;
    HEADSCOPE_UNROLL
    for (int i = 0; i < 2 * LaneScores<lanes>::pairs; ++i) {
      const int column = own.column(i / 2) + i % 2;
      if (column >= tile_keys() || first + column >= p_.kv_len) continue;
      scores[column] = absolute_score(row, own.s[i / 2][i % 2]);
    }
  }

  /// Scores of the thread's row -> weights.
  HEADSCOPE_DEVICE void weigh(int tile) {
    const int64_t first = first_key(tile);
    const int index = own_index();
    BlockRow& of_block = tiles_.row(index);
    const QueryRow& row = of_block.query;
    LaneScores<lanes> own;
    const bool unseen = own.take(p_, row, tiles_.scores(index), first, tile_keys());
    if (unseen && row.exists()) tiles_.marks().unseen = 1;
    if (params_.output.scores.data) capture(row, own, first);
    const float before = of_block.state.row_max;
    const StatisticRanges wanted = StatisticRanges::of(params_.output.statistics);
    const RowUpdate update = weigh_scores(wanted, row.position, first, before, own);
    own.template write<kPlanes>(tiles_.weights(), index);
    if (params_.partials.bins) add_bins(tile, row, update.row_max, own);
    warp_barrier();  // all have read row_max
    if (!leads_row()) return;
    update.apply(of_block.state, first);
    tiles_.factors()[index] = shrinkage(before, update.row_max);
  }

  /// Adds the weights of the thread's row to its bins, a bin a thread.
  HEADSCOPE_DEVICE void add_bins(int tile, const QueryRow& row, float row_max, const LaneScores<lanes>& own) {
    const Thumbnails& wanted = params_.output.thumbnails;
    float* weights = tiles_.scores(own_index());
    own.store(weights, tile_keys());
    warp_barrier();
    if (!row.exists() || row.position >= wanted.cells * wanted.bin) return;
    const int64_t first = first_key(tile), end = first + tile_keys(), first_bin = work_.begin / wanted.bin;
    Bin* bins = params_.partials.bin_row(block_index().y, flat(p_, work_.cache.batch, row)) - first_bin;
    for (int64_t bin = first / wanted.bin + thread_index() % lanes; bin < wanted.cells && bin * wanted.bin < end;
         bin += lanes) {
      const int64_t begin = bin * wanted.bin;
      const ColumnRange columns = columns_of({begin, begin + wanted.bin}, first, tile_keys());
      Bin weight{0, 0, row_max};
      for (int column = columns.begin; column < columns.end; ++column) {
        weight.sum += weights[column];
        weight.largest = fmaxf(weight.largest, weights[column]);
      }
      if (tile > 0 && begin < first) {
        const float factor = shrinkage(bins[bin].row_max, row_max);
        weight.sum += bins[bin].sum * factor;
        weight.largest = fmaxf(weight.largest, bins[bin].largest * factor);
      }
      bins[bin] = weight;
    }
  }

  // --- values --------------------------------------------------------------------------------------------------

  HEADSCOPE_DEVICE void add_values(int stage, int64_t first) {
    const SharedPlanes values = tiles_.values(stage);
    const float* factors = tiles_.factors();
    bool raised = false;
    for (int row = lane_index(); row < params_.tiles.rows(); row += warp_size) raised = raised || factors[row] != 1;
    if (any_of_warp(raised))
      sums_.each([&](int row, int, float& x, float& y) { x *= factors[row], y *= factors[row]; });
    TileMarks& marks = tiles_.marks();
    if (marks.unseen != 0) {
      mark_bad_values(values, p_.value_dim, marks);
      block_barrier();
      if (marks.bad != 0) take_bad_values<kPlanes>(tiles_, values, first, sums_);
    }
    sums_.template multiply<kPlanes>(tiles_.weights(), values, params_.tiles.value_dim);
  }

  /// Results, or where keys are split, what the second kernel makes them of.
  HEADSCOPE_DEVICE void write_results() {
    const bool split = params_.is_split;
    block_barrier();  // all have read the factors of the last tile
    const BlockRow& own = tiles_.row(own_index());
    if (leads_row() && own.query.exists()) {
      const int64_t batch = work_.cache.batch;
      if (params_.partials.states) *params_.partials.state(block_index().y, flat(p_, batch, own.query)) = own.state;
      if (!split) write_row(p_, params_.output, batch, own.query, own.state);
      tiles_.factors()[own_index()] = split ? 1.0F : static_cast<float>(inverse_sum(own.state));
    }
    if (!with_values()) return;
    block_barrier();
    sums_.each([&](int at, int column, float x, float y) {
      float* out = tiles_.row(at).out;
      if (!out) return;
      if (column < p_.value_dim) out[column] = x * tiles_.factors()[at];
      if (column + 1 < p_.value_dim) out[column + 1] = y * tiles_.factors()[at];
    });
  }

  const FewRowsParams& params_;
  const AttentionProblem& p_;
  const BlockWork& work_;
  const BlockTiles tiles_;
  ValueSums<kRowTiles, kSteps> sums_;
  int64_t first_tile_ = 0;
  int tile_count_ = 0;
};

/// Small blocks shall share a multiprocessor; sums of many rows take all registers.
template <int kRowTiles, int kSteps>
constexpr int blocks_a_multiprocessor() {
  if (kRowTiles > 1) return 1;
  return kSteps > 2 ? 2 : 3;
}

template <int kPlanes, int kRowTiles, int kSteps>
HEADSCOPE_KERNEL HEADSCOPE_LAUNCH_BOUNDS(
    (FewRowsBlock<kPlanes, kRowTiles, kSteps>::threads),
    (blocks_a_multiprocessor<kRowTiles, kSteps>())) void few_rows_kernel(FewRowsParams params) {
  const AttentionProblem p = params.problem_now();
  const BlockWork work = BlockWork::of(p, params.split_plan(p), tile_rows * kRowTiles);
  if (work.exists()) FewRowsBlock<kPlanes, kRowTiles, kSteps>(params, p, work).run();
}

template <int kPlanes, int kRowTiles, int kSteps>
void launch_block(const FewRowsParams& params, const Grid& grid, void* stream) {
  launch("few rows: scores, softmax, statistics, values", few_rows_kernel<kPlanes, kRowTiles, kSteps>, grid,
         FewRowsBlock<kPlanes, kRowTiles, kSteps>::threads, params.tiles.bytes(), stream, params);
}

/// A warp has 16 kSteps columns of values, and a block 4 or 8 warps.
void launch_block(const FewRowsParams& params, const Grid& grid, void* stream) {
  const TilePlan& tiles = params.tiles;
  const bool exact = tiles.weight_planes > 1;
  if (tiles.row_tiles == 1) {
    if (tiles.value_dim <= 128) {
      return exact ? launch_block<3, 1, 2>(params, grid, stream) : launch_block<1, 1, 2>(params, grid, stream);
    }
    return exact ? launch_block<3, 1, 8>(params, grid, stream) : launch_block<1, 1, 8>(params, grid, stream);
  }
  if (exact) return launch_block<3, most_row_tiles, 2>(params, grid, stream);
  if (tiles.value_dim <= 256) return launch_block<1, most_row_tiles, 2>(params, grid, stream);
  launch_block<1, most_row_tiles, 4>(params, grid, stream);
}

// --- the kernels that come after ---------------------------------------------------------------------------------

/// A row of the problem, for a block: what all its threads know of it.
struct FoldedRow {
  int64_t at, batch;
  QueryRow row;
  SplitPlan plan;

  HEADSCOPE_DEVICE static FoldedRow of(const FewRowsParams& params, const AttentionProblem& p) {
    const int64_t at = block_index().x, head = at / p.q_len;
    return {at, head / p.q_heads, query_row(p, head % p.q_heads, at % p.q_len), params.split_plan(p)};
  }
  /// The state over all splits, which the first warp computes into shared memory. Ends with a barrier.
  HEADSCOPE_DEVICE const RowState& join_states(const Partials& from) const {
    auto& joined = *reinterpret_cast<RowState*>(shared_memory());
    if (warp_index() == 0) {
      const RowState state = joined_state(from, at, plan.count);
      if (lane_index() == 0) joined = state;
    }
    block_barrier();
    return joined;
  }
};

/// One block a row: joins the states of its splits and adds up their values in the order of the keys.
HEADSCOPE_KERNEL HEADSCOPE_LAUNCH_BOUNDS(fold_threads, 4) void fold_kernel(FewRowsParams params) {
  const AttentionProblem p = params.problem_now();
  const FoldedRow folded = FoldedRow::of(params, p);
  const Partials& from = params.partials;
  const RowState& joined = folded.join_states(from);
  if (thread_index() == 0) write_row(p, params.output, folded.batch, folded.row, joined);
  if (!params.output.out.data) return;
  auto* factors = reinterpret_cast<float*>(shared_memory() + sizeof(RowState));
  const int64_t splits = folded.plan.count;
  for (int64_t split = thread_index(); split < splits; split += block_threads()) {
    factors[split] = shrinkage(from.state(split, folded.at)->row_max, joined.row_max);
  }
  block_barrier();
  const auto inverse = static_cast<float>(inverse_sum(joined));
  float* out = output_row(params.output.out, folded.batch, folded.row.head, folded.row.row);
  for (int64_t column = thread_index(); column < p.value_dim; column += block_threads()) {
    float sum = 0;
    for (int64_t split = 0; split < splits; ++split) {
      sum = fmaf(factors[split], from.value_row(split, folded.at)[column], sum);
    }
    out[column] = sum * inverse;
  }
}

/// One block a row, one thread a bin: adds the bins of all splits to the row's cells.
HEADSCOPE_KERNEL HEADSCOPE_LAUNCH_BOUNDS(fold_threads, 4) void cells_kernel(FewRowsParams params) {
  const AttentionProblem p = params.problem_now();
  const FoldedRow folded = FoldedRow::of(params, p);
  const Thumbnails& wanted = params.output.thumbnails;
  const FinishedRow row = finished_row(folded.row, folded.join_states(params.partials), wanted);
  if (row.cell_row < 0) return;
  const int64_t first_cell =
      ((folded.batch * p.q_heads + folded.row.head) * wanted.cells + row.cell_row) * wanted.cells;
  for (int64_t bin = thread_index(); bin < wanted.cells; bin += block_threads()) {
    const KeyRange keys = common({bin * wanted.bin, (bin + 1) * wanted.bin}, folded.row.keys);
    CellPart part;
    part.nan = row.inverse != row.inverse && sees_any(folded.row, keys);
    const SplitPlan& plan = folded.plan;
    for (int64_t split = plan.split_of(keys.begin); !keys.empty() && split <= plan.split_of(keys.end - 1); ++split) {
      const Bin* bins = params.partials.bin_row(split, folded.at) - plan.bounds(split).begin / wanted.bin;
      if (row.inverse == row.inverse) part.add(row, bins[bin]);
    }
    part.flush(wanted, first_cell + bin);
  }
}

// --- launches ----------------------------------------------------------------------------------------------------

/// How a call is cut, and how its workspace.
struct Cut {
  FewRowsParams params;
  int64_t splits = 1;  ///< at most
  bool with_cells = false;
  size_t workspace = 0;

  /// Where lengths are read on the device, the cut serves all that may be. `memory` null: only counts.
  Cut(const AttentionProblem& p, const AttentionOutput& output, std::byte* memory) {
    params.problem = p, params.output = output;
    params.tiles = plan_tiles(p, current_limits());
    params.blocks = p.batch * p.kv_heads * ceil_div(rows_of_kv_head(p), params.tiles.rows());
    // Splits are no larger and no more than those of all keys.
    const SplitPlan plan =
        p.lengths ? SplitPlan::of({0, p.kv_len}, params.blocks, params.tiles.wanted_blocks) : params.split_plan(p);
    splits = p.lengths ? SplitPlan::most_splits(p.kv_len, params.blocks, params.tiles.wanted_blocks) : plan.count;
    params.is_split = splits > 1;
    with_cells = output.thumbnails.max || output.thumbnails.sum;
    if (!params.is_split && !with_cells) return;
    Partials& partials = params.partials;
    const int64_t rows = partials.rows = p.batch * p.q_heads * p.q_len;
    partials.states = take<RowState>(memory, splits * rows);
    partials.pitch = params.tiles.value_dim;
    if (params.is_split && output.out.data) partials.values = take<float>(memory, splits * rows * partials.pitch);
    if (!with_cells) return;
    partials.bins_of_split = std::min(plan.split_keys / output.thumbnails.bin + 2, output.thumbnails.cells);
    partials.bins = take<Bin>(memory, splits * rows * partials.bins_of_split);
  }

 private:
  template <class T>
  T* take(std::byte* memory, int64_t count) {
    T* piece = memory ? reinterpret_cast<T*>(memory + workspace) : nullptr;
    workspace += (static_cast<size_t>(count) * sizeof(T) + 127) / 128 * 128;
    return piece;
  }
};

void launch_all(const Cut& cut, void* stream) {
  launch_block(cut.params, {static_cast<unsigned>(cut.params.blocks), static_cast<unsigned>(cut.splits)}, stream);
  const Grid rows{static_cast<unsigned>(cut.params.partials.rows)};
  if (cut.params.is_split) {
    const size_t shared = sizeof(RowState) + static_cast<size_t>(cut.splits) * sizeof(float);
    launch("few rows: splits", fold_kernel, rows, fold_threads, shared, stream, cut.params);
  }
  if (cut.with_cells) {
    launch("few rows: thumbnails", cells_kernel, rows, fold_threads, sizeof(RowState), stream, cut.params);
  }
}

}  // namespace

bool few_rows_takes(const AttentionProblem& p) {
  // That forward.cu has tiles for: where weights and values are split, sums of more would not leave enough registers.
  const int64_t most_dim = 256, most_value_dim = all_one_plane(p) ? 256 : 128;
  if (p.lengths) return true;
  // One token is all there is of it, however many heads: those of a group share what is read, and splits make up for
  // few blocks. Its later runs in a graph, whose lengths are read on the device, have the same bits so.
  if (p.q_len == 1) return true;
  // As many rows as a block has: so a KV head is read once for all of them.
  return p.key_dim > most_dim || p.value_dim > most_value_dim || rows_of_kv_head(p) <= most_row_tiles * tile_rows;
}

size_t few_rows_workspace(const AttentionProblem& p, const AttentionOutput& output, int /*workers*/) {
  return p.q_len == 0 ? 0 : Cut(p, output, nullptr).workspace;
}

void few_rows_forward(const AttentionProblem& p, const AttentionOutput& output, std::span<std::byte> workspace,
                      const ParallelFor& parallel) {
  if (p.q_len > 0) launch_all(Cut(p, output, workspace.data()), parallel.stream());
}

}  // namespace headscope::cuda
