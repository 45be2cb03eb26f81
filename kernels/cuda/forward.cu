#include <algorithm>
#include <stdexcept>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/few_rows.h"
#include "kernels/cuda/split_planes.h"
#include "kernels/cuda/thumbnails.cuh"
#include "kernels/cuda/tuning.h"
#include "kernels/cuda/values.cuh"

namespace headscope::cuda {
namespace {

// A block takes some query rows (64) of one head over their keys, tile by tile, and keeps every result up to date as it
// goes: an online softmax. Each of its warps has 16 rows. The keys of the next tile arrive while the values of this one
// are multiplied, and its values while its scores are made.

constexpr int block_rows = tuning::forward_rows, warp_rows = 16;
constexpr int threads = block_rows / warp_rows * warp_size;

struct ForwardParams {
  AttentionProblem p;
  AttentionOutput output;
  StatisticRanges ranges;
  PlaneRows keys, values;
  uint32_t* next;          ///< the first item that no block has taken
  int64_t items;           ///< blocks of rows: heads times row_blocks
  int64_t row_blocks;      ///< of a head
  std::byte* bin_memory;   ///< a piece for each block of the grid, or null: no thumbnails
  size_t block_bin_bytes;  ///< its size
};

/// Keys of a tile: as many as leave the registers that three planes, or many values, need.
template <int kPlanes, int kDims>
constexpr int tile_keys = (kPlanes == 1 ? tuning::forward_keys : 32) / (kDims > 128 ? 2 : 1);

/// The rows a block is at. In shared memory: registers are for what differs from thread to thread.
struct RowBlock {
  int64_t batch, head, kv_head;
  int64_t first_row, count;
  KeyRange any;            ///< keys that some row sees
  KeyRange all;            ///< keys that every row sees
  KeyRange tiles;          ///< `any`, from the start of a tile on
  const uint16_t* keys;    ///< the first plane's row of key 0, were there one
  const uint16_t* values;  ///< likewise

  HEADSCOPE_DEVICE void set(const ForwardParams& s, int64_t item, int keys_of_tile) {
    const int64_t batch_head = item / s.row_blocks;
    batch = batch_head / s.p.q_heads;
    head = batch_head % s.p.q_heads;
    kv_head = head / (s.p.q_heads / s.p.kv_heads);
    // The last rows of a head see most keys, and start first.
    first_row = (s.row_blocks - 1 - item % s.row_blocks) * block_rows;
    count = s.p.q_len - first_row < block_rows ? s.p.q_len - first_row : block_rows;
    any = keys_of_any(s.p, first_row, first_row + count - 1);
    all = keys_of_all(s.p, first_row, first_row + count - 1);
    tiles = {any.begin / keys_of_tile * keys_of_tile, any.end};
    keys = row_of_key_0(s.keys);
    values = row_of_key_0(s.values);
  }

 private:
  HEADSCOPE_DEVICE const uint16_t* row_of_key_0(const PlaneRows& rows) const {
    return rows.data + batch * rows.batch_stride + kv_head * rows.head_stride - rows.first_key * rows.row_stride;
  }
};

/// What threads of a block tell each other.
struct alignas(128) Notes {
  RowBlock block;
  QueryRow rows[block_rows];
  FinishedRow finished[block_rows];
  bool flags[block_rows / warp_rows];
  bool done;
};

struct SharedLayout {
  SharedPlanes queries, keys, values;

  HEADSCOPE_HOST_DEVICE SharedLayout(const AttentionProblem& p, int key_planes, int value_planes, int keys_of_tile,
                                     int value_dim) {
    queries = {nullptr, block_rows, padded_dim(p.key_dim), planes_of(p.q.element)};
    keys = {nullptr, keys_of_tile, padded_dim(p.key_dim), key_planes};
    values = {nullptr, keys_of_tile, value_dim, value_planes};
  }
  HEADSCOPE_HOST_DEVICE size_t bytes() const {
    return sizeof(Notes) + queries.bytes() + keys.bytes() + (values.count > 0 ? values.bytes() : 0);
  }
  HEADSCOPE_DEVICE Notes& place(std::byte* memory) {
    queries.data = reinterpret_cast<uint16_t*>(memory + sizeof(Notes));
    keys.data = queries.data + queries.bytes() / sizeof(uint16_t);
    values.data = keys.data + keys.bytes() / sizeof(uint16_t);
    return *reinterpret_cast<Notes*>(memory);
  }
};

/// Starts to copy rows of planes into a tile, zeros for keys not `seen` by any row of the block. `key_0` is where the
/// row of key 0 would be. Eight threads share a row.
HEADSCOPE_DEVICE void copy_tile(const SharedPlanes& to, const PlaneRows& from, const uint16_t* key_0, KeyRange seen,
                                int64_t first_key) {
  constexpr int chunk = 8, row_threads = 8;
  const int first_chunk = thread_index() % row_threads * chunk;
  for (int plane = 0; plane < to.count; ++plane) {
    for (int index = thread_index() / row_threads; index < to.rows; index += threads / row_threads) {
      const int64_t key = first_key + index;
      const bool exists = key >= seen.begin && key < seen.end;
      const uint16_t* row = key_0 + plane * from.plane_stride + key * from.row_stride;
      uint16_t* shared = to.row(plane, index);
      for (int dim = first_chunk; dim < to.dim; dim += row_threads * chunk) {
        const bool valid = exists && dim < from.dim;
        copy_async(shared + dim, valid ? row + dim : from.data, valid);
      }
    }
  }
}

/// kPlanes: 1 for bf16 throughout, 3 for anything else. kDims: values of a row, padded.
template <int kPlanes, int kDims>
class Forward {
 public:
  HEADSCOPE_DEVICE explicit Forward(const ForwardParams& params)
      : s_(params),
        shared_(params.p, params.keys.count, params.values.count, keys_of_tile, kDims),
        notes_(shared_.place(shared_memory())) {}

  /// Takes blocks of rows until there are none.
  HEADSCOPE_DEVICE void run() {
    for (;;) {
      block_barrier();
      if (thread_index() == 0) {
        const int64_t item = atomic_add(s_.next, 1);
        notes_.done = item >= s_.items;
        if (!notes_.done) notes_.block.set(s_, item, keys_of_tile);
      }
      block_barrier();
      if (notes_.done) return;
      attend(notes_.block);
    }
  }

 private:
  static constexpr int keys_of_tile = tile_keys<kPlanes, kDims>, tile_blocks = keys_of_tile / 8;
  using Weights = float[tile_blocks][4];
  using Sums = float[kDims / 8][4];

  HEADSCOPE_DEVICE static int warp_row() { return warp_index() * warp_rows; }
  /// The place of row r of a lane in the block.
  HEADSCOPE_DEVICE static int place_of(int r) { return warp_row() + lane_index() / 4 + 8 * r; }
  HEADSCOPE_DEVICE bool with_values() const { return s_.output.out.data != nullptr; }

  HEADSCOPE_DEVICE void copy_keys(const RowBlock& block, int64_t first_key) const {
    copy_tile(shared_.keys, s_.keys, block.keys, block.any, first_key);
  }
  HEADSCOPE_DEVICE void copy_values(const RowBlock& block, int64_t first_key) const {
    copy_tile(shared_.values, s_.values, block.values, block.any, first_key);
  }
  /// [cells][block_rows]
  HEADSCOPE_DEVICE Bin* bins() const {
    return reinterpret_cast<Bin*>(s_.bin_memory + block_index().x * s_.block_bin_bytes);
  }

  HEADSCOPE_DEVICE void attend(const RowBlock& block) {
    for (int index = thread_index(); index < block_rows; index += threads) {
      notes_.rows[index] = index < block.count ? query_row(s_.p, block.head, block.first_row + index) : QueryRow{};
    }
    fill_planes<kPlanes>(
        shared_.queries, s_.p.key_dim,
        [&](int index) {
          return index < block.count ? global_row(s_.p.q, block.batch, block.head, block.first_row + index)
                                     : GlobalRow{};
        },
        [](int, const GlobalRow& row, int64_t dim) { return row.at(dim); });
    LaneRows rows;
    Sums sums;
    // Values that are inf or NaN are seen by what they do to the sums, and then kept from rows that do not see them.
    bool careful = false;
    for (;; careful = true) {
      add_keys(block, careful, rows, sums);
      if (careful || !any_of_block(!all_finite(sums))) break;
    }
    write(block, rows, sums);
    if (!careful) return;
    block_barrier();
    add_bad_values(block);
  }

  HEADSCOPE_DEVICE bool any_of_block(bool value) {
    value = any_of_warp(value);
    if (lane_index() == 0) notes_.flags[warp_index()] = value;
    block_barrier();
    bool any = false;
    for (const bool flag : notes_.flags) any = any || flag;
    return any;
  }

  /// All keys. With `careful`, values that are not finite reach no row that does not see them.
  HEADSCOPE_DEVICE void add_keys(const RowBlock& block, bool careful, LaneRows& rows, Sums& sums) {
    rows = {};
    HEADSCOPE_UNROLL
    for (int n = 0; n < kDims / 8; ++n) {
      HEADSCOPE_UNROLL
      for (int i = 0; i < 4; ++i) sums[n][i] = 0;
    }
    const bool works = warp_row() < block.count;
    if (!block.tiles.empty()) copy_keys(block, block.tiles.begin);
    commit_copies();
    for (int64_t first_key = block.tiles.begin; first_key < block.tiles.end; first_key += keys_of_tile) {
      wait_for_copies<0>();
      block_barrier();  // keys are here, and values free
      if (with_values()) copy_values(block, first_key);
      commit_copies();
      Weights weights;
      TileEffect effect;
      if (works) effect = weigh_tile(block, first_key, rows, weights);
      wait_for_copies<0>();
      block_barrier();  // values are here, and keys free
      if (first_key + keys_of_tile < block.tiles.end) {
        copy_keys(block, first_key + keys_of_tile);
      }
      commit_copies();
      if (!with_values()) continue;
      if (careful) {
        hide_bad_values(shared_.values, s_.p.value_dim, [&](int index) { return value_of(block, first_key + index); });
        block_barrier();
      }
      if (works) add_values(WeightFactors<kPlanes, tile_blocks / 2>(weights), shared_.values, effect.factors, sums);
    }
    wait_for_copies<0>();
    block_barrier();
  }

  /// The weights of a warp's rows in a tile.
  HEADSCOPE_DEVICE TileEffect weigh_tile(const RowBlock& block, int64_t first_key, LaneRows& rows, Weights& weights) {
    multiply_scores<kPlanes, tile_blocks>(shared_.queries, warp_row(), shared_.keys, 0, weights);
    finish_scores(block, first_key, weights);
    if (s_.output.scores.data) capture(block, first_key, weights);
    const int64_t positions[2] = {notes_.rows[place_of(0)].position, notes_.rows[place_of(1)].position};
    const TileEffect effect = add_tile(rows, s_.ranges, positions, first_key, weights);
    if (s_.bin_memory) {
      add_to_bins(bins() + place_of(own_row()), block_rows, s_.output.thumbnails, first_key,
                  first_key == block.tiles.begin, rows, effect, weights);
    }
    return effect;
  }

  /// From <q, k> to scores. Most tiles are seen whole by every row, and most models only scale.
  HEADSCOPE_DEVICE void finish_scores(const RowBlock& block, int64_t first_key, Weights& scores) const {
    const AttentionProblem& p = s_.p;
    if (is_plain(p) && first_key >= block.all.begin && first_key + keys_of_tile <= block.all.end) {
      HEADSCOPE_UNROLL
      for (int n = 0; n < tile_blocks; ++n) {
        HEADSCOPE_UNROLL
        for (int i = 0; i < 4; ++i) scores[n][i] = plain_score(p, scores[n][i]);
      }
      return;
    }
    HEADSCOPE_UNROLL
    for (int r = 0; r < 2; ++r) {
      const QueryRow row = notes_.rows[place_of(r)];
      HEADSCOPE_UNROLL
      for (int n = 0; n < tile_blocks; ++n) {
        HEADSCOPE_UNROLL
        for (int i = 2 * r; i < 2 * r + 2; ++i) {
          scores[n][i] = score_of(p, row, scores[n][i], first_key + tile_column(n, i));
        }
      }
    }
  }

  HEADSCOPE_DEVICE void capture(const RowBlock& block, int64_t first_key, const Weights& scores) const {
    const int columns = columns_of({first_key, s_.p.kv_len}, first_key, keys_of_tile).end;
    HEADSCOPE_UNROLL
    for (int r = 0; r < 2; ++r) {
      const QueryRow& row = notes_.rows[place_of(r)];
      if (!row.exists()) continue;
      float* to = output_row(s_.output.scores, block.batch, block.head, row.row) + first_key;
      HEADSCOPE_UNROLL
      for (int n = 0; n < tile_blocks; ++n) {
        HEADSCOPE_UNROLL
        for (int i = 2 * r; i < 2 * r + 2; ++i) {
          const int column = tile_column(n, i);
          if (column < columns) to[column] = absolute_score(row, scores[n][i]);
        }
      }
    }
  }

  /// The scores of tiles that the block did not come to.
  HEADSCOPE_DEVICE void capture_unseen(const RowBlock& block) const {
    const int64_t tiles = (block.tiles.end - block.tiles.begin + keys_of_tile - 1) / keys_of_tile;
    const int64_t end = block.tiles.begin + tiles * keys_of_tile;
    for (int64_t row = 0; row < block.count; ++row) {
      float* to = output_row(s_.output.scores, block.batch, block.head, block.first_row + row);
      for (int64_t key = thread_index(); key < block.tiles.begin; key += threads) to[key] = minus_infinity();
      for (int64_t key = end + thread_index(); key < s_.p.kv_len; key += threads) to[key] = minus_infinity();
    }
  }

  HEADSCOPE_DEVICE GlobalRow value_of(const RowBlock& block, int64_t key) const {
    if (key < block.any.begin || key >= block.any.end) return {};
    return global_row(s_.p.v, block.batch, block.kv_head, key - s_.p.first_key);
  }

  /// Adds values that were hidden to the rows that see them, once these are written. No weight changes what inf or NaN
  /// makes of a sum.
  HEADSCOPE_DEVICE void add_bad_values(const RowBlock& block) const {
    for (int64_t dim = thread_index(); dim < s_.p.value_dim; dim += threads) {
      for (int64_t key = block.any.begin; key < block.any.end; ++key) {
        const float number = value_of(block, key).at(dim);
        if (is_finite(number)) continue;
        for (int row = 0; row < block.count; ++row) {
          if (!notes_.rows[row].sees(key)) continue;
          output_row(s_.output.out, block.batch, block.head, block.first_row + row)[dim] += number;
        }
      }
    }
  }

  HEADSCOPE_DEVICE void write(const RowBlock& block, const LaneRows& rows, const Sums& sums) {
    const auto own = static_cast<float>(inverse_sum(rows.state)), other = shuffle_xor(own, 1);
    HEADSCOPE_UNROLL
    for (int r = 0; r < 2 && with_values(); ++r) {
      const int place = place_of(r);
      if (place < block.count) write_values(block, place, r, r == own_row() ? own : other, sums);
    }
    const int own_place = place_of(own_row());
    if (lane_index() % 4 < 2) {
      const QueryRow row = notes_.rows[own_place];
      if (row.exists()) write_row(s_.p, s_.output, block.batch, row, rows.state);
      if (s_.bin_memory) notes_.finished[own_place] = finished_row(row, rows.state, s_.output.thumbnails);
    }
    if (s_.output.scores.data) capture_unseen(block);
    if (!s_.bin_memory) return;
    block_barrier();
    const int64_t cells = s_.output.thumbnails.cells;
    write_cells(bins(), block_rows, s_.output.thumbnails, (block.batch * s_.p.q_heads + block.head) * cells * cells,
                notes_.rows, notes_.finished, block.tiles);
  }

  HEADSCOPE_DEVICE void write_values(const RowBlock& block, int place, int r, float inverse, const Sums& sums) const {
    float* out = output_row(s_.output.out, block.batch, block.head, block.first_row + place);
    HEADSCOPE_UNROLL
    for (int n = 0; n < kDims / 8; ++n) {
      HEADSCOPE_UNROLL
      for (int i = 2 * r; i < 2 * r + 2; ++i) {
        const int dim = tile_column(n, i);
        if (dim < s_.p.value_dim) out[dim] = sums[n][i] * inverse;
      }
    }
  }

  const ForwardParams& s_;
  SharedLayout shared_;
  Notes& notes_;
};

/// Blocks that shall fit on a multiprocessor at once, so that each has the registers it needs.
constexpr int blocks_at_once = tuning::forward_blocks;

template <int kPlanes, int kDims>
HEADSCOPE_KERNEL void HEADSCOPE_LAUNCH_BOUNDS(threads, blocks_at_once) forward_rows(ForwardParams params) {
  Forward<kPlanes, kDims>(params).run();
}

struct Instance {
  void (*kernel)(ForwardParams);
  int keys_of_tile, value_dim;
};

template <int kPlanes, int kDims>
constexpr Instance instance() {
  return {forward_rows<kPlanes, kDims>, tile_keys<kPlanes, kDims>, kDims};
}

Instance instance_for(const AttentionProblem& p, bool with_values) {
  const bool one_plane = all_one_plane(p);
  const int64_t dims = with_values ? p.value_dim : 0;
  if (dims <= 64) return one_plane ? instance<1, 64>() : instance<3, 64>();
  if (dims <= 128) return one_plane ? instance<1, 128>() : instance<3, 128>();
  return instance<1, 256>();  // three planes of so many go to few_rows.cu
}

size_t bytes_of_block(const AttentionProblem& p, bool with_values) {
  const Instance instance = instance_for(p, with_values);
  const int value_planes = with_values ? planes_of(p.v.element) : 0;
  return SharedLayout(p, key_planes_of(p), value_planes, instance.keys_of_tile, instance.value_dim).bytes();
}

/// Whether the kernel for few rows runs the problem: where tiles of this one do not fit into a block's memory, too,
/// whatever is wanted of the problem. With 99 KiB that is so for f32 heads of 128 numbers.
bool goes_to_few_rows(const AttentionProblem& p) {
  return few_rows_takes(p) || bytes_of_block(p, true) > current_limits().block_bytes;
}

bool wants_cells(const AttentionOutput& output) { return output.thumbnails.max || output.thumbnails.sum; }

/// How a workspace is cut.
struct Plan {
  static constexpr size_t counter_bytes = 128;

  Instance instance;
  PlaneSource keys, values;
  int64_t row_blocks, items, blocks;
  size_t key_bytes, value_bytes, block_bin_bytes = 0;

  Plan(const AttentionProblem& p, const AttentionOutput& output)
      : instance(instance_for(p, output.out.data != nullptr)),
        keys(PlaneSource::keys(p)),
        values(PlaneSource::values(p)) {
    row_blocks = ceil_div(p.q_len, block_rows);
    items = blocks = p.batch * p.q_heads * row_blocks;
    const auto aligned = [](size_t bytes) { return (bytes + 127) / 128 * 128; };
    key_bytes = aligned(keys.bytes());
    value_bytes = output.out.data ? aligned(values.bytes()) : 0;
    if (!wants_cells(output)) return;
    block_bin_bytes = static_cast<size_t>(output.thumbnails.cells) * block_rows * sizeof(Bin);
    blocks = std::min<int64_t>(blocks, filling_blocks(current_limits(), blocks_at_once));
  }
  size_t bytes() const {
    return counter_bytes + key_bytes + value_bytes + static_cast<size_t>(blocks) * block_bin_bytes;
  }
};

}  // namespace

size_t forward_workspace(const AttentionProblem& p, const AttentionOutput& output, int workers) {
  if (goes_to_few_rows(p)) return few_rows_workspace(p, output, workers);
  return p.q_len == 0 ? 0 : Plan(p, output).bytes();
}

void forward(const AttentionProblem& p, const AttentionOutput& output, std::span<std::byte> workspace,
             const ParallelFor& parallel) {
  if (wants_cells(output) && output.thumbnails.cells > Thumbnails::max_cells) {
    throw std::invalid_argument("a thumbnail has more cells than a kernel has scratch for");
  }
  if (output.scores.data) refuse_lengths(p, "raw scores");
  if (goes_to_few_rows(p)) return few_rows_forward(p, output, workspace, parallel);
  if (p.q_len == 0) return;
  const Plan plan(p, output);
  void* const stream = parallel.stream();
  std::byte* const key_memory = workspace.data() + Plan::counter_bytes;
  std::byte* const value_memory = key_memory + plan.key_bytes;
  ForwardParams params{.p = p,
                       .output = output,
                       .ranges = StatisticRanges::of(output.statistics),
                       .keys = plan.keys.planes(key_memory, stream),
                       .values = {},
                       .next = reinterpret_cast<uint32_t*>(workspace.data()),
                       .items = plan.items,
                       .row_blocks = plan.row_blocks,
                       .bin_memory = wants_cells(output) ? value_memory + plan.value_bytes : nullptr,
                       .block_bin_bytes = plan.block_bin_bytes};
  if (output.out.data) {
    params.values = plan.values.planes(value_memory, stream);
  } else {
    params.values.count = 0;
  }
  clear("forward: the counter of blocks", params.next, Plan::counter_bytes, stream);
  launch("forward: scores, softmax, statistics, values", plan.instance.kernel, {static_cast<unsigned>(plan.blocks)},
         threads, bytes_of_block(p, output.out.data != nullptr), stream, params);
}

}  // namespace headscope::cuda
