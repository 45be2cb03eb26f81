// Column masses, grids and distance histograms from known log-sum-exps. A block owns up to 128 keys of one head (64 in
// three planes), a warp a quarter of them, and takes the rows that see them in pieces of 64, in their order. Sums over
// rows stay in registers for up to eight pieces and then join doubles in shared memory.
// - Grid cells below 64 are pooled in shared memory, from the weights of a piece; larger ones from the sums and maxima
//   of their columns. Above that a cell has several blocks: map_cells_kernel adds up what the workspace holds of it.
// - Distances that share a bucket are summed together; a piece that holds several is summed once for each.

#include <algorithm>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/half.cuh"
#include "kernels/cuda/known_weights.cuh"
#include "kernels/cuda/paced_launches.h"
#include "kernels/cuda/tuning.h"

namespace headscope::cuda {
namespace {

constexpr int map_threads = 128, map_warps = map_threads / warp_size;
constexpr int row_tiles = piece_rows / 16;
constexpr int flush_pieces = 8;   ///< whose column sums stay in registers
constexpr int most_buckets = 33;  ///< distances have at most 32 binary digits

/// Keys of a warp and of a block. Three planes take more registers.
HEADSCOPE_HOST_DEVICE constexpr int keys_of_warp(int planes) { return planes == 1 ? tuning::map_keys : 16; }
HEADSCOPE_HOST_DEVICE constexpr int keys_of_block(int planes) { return keys_of_warp(planes) * map_warps; }
constexpr int most_keys = keys_of_block(1);

/// A head's partial results lie in the workspace of a pass, that of some heads.
struct MapParams {
  AttentionProblem problem;
  const float* row_max = nullptr;
  const float* log_sum = nullptr;
  ScoreShape shape;
  MapStatistics wanted;
  CellCut rows;  ///< of positions
  CellCut keys;
  int first_row_cell = 0;  ///< the grid's row where `rows` starts; may be negative
  int recorded_rows = 0;   ///< rows of the grid that rows of the call belong to, from first_recorded on
  int first_recorded = 0;
  int buckets = 0;               ///< at most most_buckets; 0: no histogram
  int64_t first_head = 0;        ///< of the pass, among batch * q_heads
  int heads = 0;                 ///< of the pass
  int first_block = 0;           ///< of the launch, among those of the pass
  double* cell_sums = nullptr;   ///< [heads][recorded_rows][pieces of keys], where cells have several pieces
  float* cell_peaks = nullptr;   ///< the same
  double* histograms = nullptr;  ///< [heads][pieces of keys][buckets]

  HEADSCOPE_HOST_DEVICE bool wants_grid() const { return wanted.grid_mean || wanted.grid_max; }
  HEADSCOPE_HOST_DEVICE bool pools() const { return wants_grid() && rows.whole(); }
  HEADSCOPE_HOST_DEVICE int grid_cells() const { return static_cast<int>(wanted.cells); }

  /// Writes a cell of a head's grids. Rows and columns beyond the grid are left out.
  HEADSCOPE_DEVICE void write_cell(int64_t head, int row, int column, double sum, float peak) const {
    if (row < 0 || row >= grid_cells() || column >= grid_cells()) return;
    const int64_t at = (head * wanted.cells + row) * wanted.cells + column;
    if (wanted.grid_mean) {
      const int of_call = row - first_row_cell;
      const int64_t begin = larger(rows.origin + int64_t{of_call} * rows.bin, problem.causal_offset);
      const int64_t height = rows.origin + int64_t{of_call} * rows.bin + rows.width(of_call) - begin;
      const double places = static_cast<double>(height) * static_cast<double>(keys.width(column));
      wanted.grid_mean[at] = half_bits(static_cast<float>(sum / places));
    }
    if (wanted.grid_max) wanted.grid_max[at] = half_bits(peak);
  }
};
static_assert(sizeof(MapParams) <= 4096);

using MapRows = KnownRows<piece_rows>;

/// What a block keeps in shared memory beside the rows.
struct MapShared {
  double mass[most_keys];
  double cell_sum[most_keys];  ///< of the row of cells in work
  uint32_t cell_peak[most_keys];
  double histogram[map_warps][most_buckets];
  MapRows rows[2];  ///< of the stages
};

constexpr int weights_pitch = most_keys + 1;

template <int kPlanes>
class MapBlock {
  static constexpr int warp_keys = keys_of_warp(kPlanes), block_keys = keys_of_block(kPlanes),
                       key_blocks = warp_keys / 8;

 public:
  HEADSCOPE_DEVICE MapBlock(const MapParams& params, int64_t head, int piece)
      : params_(params),
        p_(params.problem),
        head_(head),
        key_piece_(piece),
        keys_(params.keys.range(piece)),
        shared_(*reinterpret_cast<MapShared*>(shared_memory() + params.shape.bytes())),
        weights_{reinterpret_cast<float*>(shared_memory() + params.shape.bytes() + sizeof(MapShared)), weights_pitch} {
    const KeyRange positions = positions_of_keys(p_, keys_.begin, keys_.end);
    if (positions.empty()) return;
    first_piece_ = params.rows.piece_of(positions.begin);
    end_piece_ = params.rows.piece_of(positions.end - 1) + 1;
  }

  HEADSCOPE_DEVICE void run() {
    clear_shared();
    const HeadRows queries = HeadRows::queries(p_, batch(), q_head()), keys = HeadRows::keys(p_, batch(), q_head());
    const ScoreShape& shape = params_.shape;
    const SharedPlanes kept = shape.kept_in(shared_memory());
    const int chunks = shape.chunks();
    const auto load = [&](int step, int stage) {
      const int chunk = step % chunks, first_dim = chunk * shape.chunk;
      if (step == 0 || chunks > 1) {
        load_rows<kPlanes>(shape.kept_copied, kept, keys, first_dim,
                           [&](int place) { return keys_.begin + place < keys_.end ? keys_.begin + place : -1; });
      }
      const int piece = first_piece_ + step / chunks;
      load_rows<kPlanes>(shape.passing_copied, shape.passing_in(shared_memory(), stage), queries, first_dim,
                         [&](int place) { return row_at(piece, place); });
      if (chunk != chunks - 1) return;
      shared_.rows[stage].fill(p_, head_, params_.row_max, params_.log_sum,
                               [&](int place) { return row_at(piece, place); });
    };
    ScoreSums<kPlanes, row_tiles, key_blocks> sums;
    for_each_step((end_piece_ - first_piece_) * chunks, shape.in_background(), load, [&](int step, int stage) {
      if (step % chunks == 0) sums.clear();
      sums.add(shape.passing_in(shared_memory(), stage), 0, 16, kept, warp_keys * warp_index(),
               shape.steps(step % chunks));
      if (step % chunks < chunks - 1) return;
      add_piece(first_piece_ + step / chunks, shared_.rows[stage], sums.dots);
    });
    block_barrier();
    write_sums();
  }

 private:
  HEADSCOPE_DEVICE int64_t batch() const { return head_ / p_.q_heads; }
  HEADSCOPE_DEVICE int64_t q_head() const { return head_ % p_.q_heads; }

  HEADSCOPE_DEVICE void clear_shared() const {
    for (int i = thread_index(); i < most_keys; i += block_threads()) {
      shared_.mass[i] = shared_.cell_sum[i] = 0;
      shared_.cell_peak[i] = 0;
    }
    for (int i = thread_index(); i < map_warps * most_buckets; i += block_threads()) {
      shared_.histogram[i / most_buckets][i % most_buckets] = 0;
    }
  }

  /// The row at a place of a piece; negative: none. The call's first row may lie inside the first piece, whose places
  /// count from where its cell begins all the same.
  HEADSCOPE_DEVICE int64_t row_at(int piece, int place) const {
    const KeyRange positions = params_.rows.range(piece);
    const int64_t position = positions.begin + place;
    return position < positions.end ? position - p_.causal_offset : -1;
  }

  HEADSCOPE_DEVICE static int row_place(int r, int i) { return 16 * r + row_in_fragment(i); }
  HEADSCOPE_DEVICE static int key_place(int n, int i) {
    return warp_keys * warp_index() + 8 * n + column_in_fragment(i);
  }

  HEADSCOPE_DEVICE void add_piece(int piece, const MapRows& rows, float (&dots)[row_tiles][key_blocks][4]) {
    weigh(p_, rows, 0, 16, keys_, block_keys, warp_keys * warp_index(), dots);
    add_columns(dots);
    if (params_.buckets > 0) add_distances(piece, dots);
    if (params_.pools()) pool_cells(piece, dots);
    const bool last = piece + 1 == end_piece_;
    const bool ends_cell = last || params_.rows.first_cell(piece + 1) != params_.rows.first_cell(piece);
    if (params_.rows.whole()) {
      if (last || piece % flush_pieces == flush_pieces - 1) flush_columns();
      return;
    }
    const int part = piece % params_.rows.pieces_of_cell();
    if (ends_cell || part % flush_pieces == flush_pieces - 1) flush_columns();
    if (ends_cell && params_.wants_grid()) finish_cells(params_.rows.first_cell(piece));
  }

  // --- sums over rows --------------------------------------------------------------------------------------------

  HEADSCOPE_DEVICE void add_columns(const float (&weights)[row_tiles][key_blocks][4]) {
    HEADSCOPE_UNROLL
    for (int n = 0; n < key_blocks; ++n) {
      HEADSCOPE_UNROLL
      for (int i = 0; i < 2; ++i) {
        float sum = 0;
        HEADSCOPE_UNROLL
        for (int r = 0; r < row_tiles; ++r) {
          sum += weights[r][n][i] + weights[r][n][i + 2];
          column_peaks_[n][i] = higher(column_peaks_[n][i], weight_bits(weights[r][n][i]));
          column_peaks_[n][i] = higher(column_peaks_[n][i], weight_bits(weights[r][n][i + 2]));
        }
        column_sums_[n][i] += sum;
      }
    }
  }

  /// Adds the columns' sums to those in shared memory, where each key belongs to one warp.
  HEADSCOPE_DEVICE void flush_columns() {
    HEADSCOPE_UNROLL
    for (int n = 0; n < key_blocks; ++n) {
      HEADSCOPE_UNROLL
      for (int i = 0; i < 2; ++i) {
        float sum = column_sums_[n][i];
        uint32_t peak = column_peaks_[n][i];
        for (int mask = 4; mask < warp_size; mask *= 2) {
          sum += shuffle_xor(sum, mask);
          peak = higher(peak, shuffle_xor(peak, mask));
        }
        column_sums_[n][i] = 0;
        column_peaks_[n][i] = 0;
        if (lane_index() >= 4) continue;
        const int key = key_place(n, i);
        shared_.mass[key] += double{sum};
        shared_.cell_sum[key] += double{sum};
        shared_.cell_peak[key] = higher(shared_.cell_peak[key], peak);
      }
    }
  }

  /// Cells whose last row came: a warp for each of the block's. The sums start anew.
  HEADSCOPE_DEVICE void finish_cells(int cell) const {
    block_barrier();
    const int bin = static_cast<int>(smaller(params_.keys.bin, block_keys));
    for (int column = warp_index(); column < params_.keys.cells_of_piece(); column += map_warps) {
      double sum = 0;
      uint32_t peak = 0;
      for (int key = column * bin + lane_index(); key < (column + 1) * bin; key += warp_size) {
        sum += shared_.cell_sum[key];
        peak = higher(peak, shared_.cell_peak[key]);
        shared_.cell_sum[key] = 0;
        shared_.cell_peak[key] = 0;
      }
      sum = warp_sum(sum);
      peak = warp_peak(peak);
      if (lane_index() == 0) write_cell(params_.first_row_cell + cell, column, sum, float_of_bits(peak));
    }
  }

  HEADSCOPE_DEVICE void write_cell(int row, int column, double sum, float peak) const {
    if (params_.keys.pieces_of_cell() == 1) {
      return params_.write_cell(head_, row, params_.keys.first_cell(key_piece_) + column, sum, peak);
    }
    const int recorded = row - params_.first_recorded;
    if (recorded < 0 || recorded >= params_.recorded_rows) return;
    const int64_t at =
        ((head_ - params_.first_head) * params_.recorded_rows + recorded) * params_.keys.pieces() + key_piece_;
    params_.cell_sums[at] = sum;
    params_.cell_peaks[at] = peak;
  }

  // --- cells below 64 --------------------------------------------------------------------------------------------

  HEADSCOPE_DEVICE void pool_cells(int piece, const float (&weights)[row_tiles][key_blocks][4]) const {
    HEADSCOPE_UNROLL
    for (int r = 0; r < row_tiles; ++r) {
      HEADSCOPE_UNROLL
      for (int n = 0; n < key_blocks; ++n) {
        HEADSCOPE_UNROLL
        for (int i = 0; i < 4; ++i) weights_.row(row_place(r, i))[key_place(n, i)] = weights[r][n][i];
      }
    }
    const int bin = params_.rows.bin, rows = params_.rows.cells_of_piece(), columns = params_.keys.cells_of_piece();
    block_barrier();
    if (bin > 1) {
      weights_.pool_columns(piece_rows, columns, bin);
      block_barrier();
    }
    for (int i = thread_index(); i < rows * columns; i += block_threads()) {
      const int inside = i / columns, across = i % columns;
      const int row = params_.rows.first_cell(piece) + inside, column = params_.keys.first_cell(key_piece_) + across;
      if (row >= params_.rows.cells() || column >= params_.keys.cells()) continue;
      const float weight = weights_.row(inside * bin)[across * bin];
      params_.write_cell(head_, params_.first_row_cell + row, column,
                         bin == 1 ? double{weight} : weights_.sum_of_rows(inside * bin, bin, across * bin),
                         bin == 1 ? weight : weights_.peak_of_rows(inside * bin, bin, across * bin));
    }
  }

  // --- distances -------------------------------------------------------------------------------------------------

  HEADSCOPE_DEVICE int bucket_of(int distance) const {
    const int bucket = 32 - leading_zeros(static_cast<uint32_t>(distance));
    return bucket < params_.buckets ? bucket : params_.buckets - 1;
  }

  /// Adds a piece to the warp's histogram: what all 64 rows and 32 keys have between the nearest and the farthest.
  HEADSCOPE_DEVICE void add_distances(int piece, const float (&weights)[row_tiles][key_blocks][4]) const {
    // Position - key of the first row and the first key of the warp.
    const auto start = static_cast<int>(params_.rows.range(piece).begin - keys_.begin) - warp_keys * warp_index();
    const int low = start - (warp_keys - 1), high = start + piece_rows - 1;
    const int near = low > 0 ? low : high < 0 ? -high : 0, far = high > -low ? high : -low;
    const int last = bucket_of(far);
    for (int bucket = bucket_of(near); bucket <= last; ++bucket) {
      const int begin = bucket == 0 ? 0 : 1 << (bucket - 1);  // distances of the bucket
      const bool open = bucket == last;
      const int end = open ? 0 : bucket == 0 ? 1 : begin * 2;
      float sum = 0;
      HEADSCOPE_UNROLL
      for (int r = 0; r < row_tiles; ++r) {
        HEADSCOPE_UNROLL
        for (int n = 0; n < key_blocks; ++n) {
          HEADSCOPE_UNROLL
          for (int i = 0; i < 4; ++i) {
            const int apart = start + row_place(r, i) - (key_place(n, i) - warp_keys * warp_index());
            const int distance = apart < 0 ? -apart : apart;
            if (distance >= begin && (open || distance < end)) sum += weights[r][n][i];
          }
        }
      }
      const double of_warp = warp_sum(double{sum});
      if (lane_index() == 0) shared_.histogram[warp_index()][bucket] += of_warp;
    }
  }

  // --- the end ---------------------------------------------------------------------------------------------------

  HEADSCOPE_DEVICE void write_sums() const {
    const int place = thread_index();
    if (params_.wanted.column_mass && place < block_keys && keys_.begin + place < keys_.end) {
      params_.wanted.column_mass[head_ * p_.kv_len + keys_.begin + place] = static_cast<float>(shared_.mass[place]);
    }
    if (place >= params_.buckets) return;
    double sum = 0;
    for (int warp = 0; warp < map_warps; ++warp) sum += shared_.histogram[warp][place];
    const int64_t block = (head_ - params_.first_head) * params_.keys.pieces() + key_piece_;
    params_.histograms[block * params_.buckets + place] = sum;
  }

  const MapParams& params_;
  const AttentionProblem& p_;
  const int64_t head_;  ///< among batch * q_heads
  const int key_piece_;
  const KeyRange keys_;
  int first_piece_ = 0, end_piece_ = 0;  ///< of rows
  MapShared& shared_;
  const WeightTile weights_;
  float column_sums_[key_blocks][2] = {};
  uint32_t column_peaks_[key_blocks][2] = {};
};

/// The first keys come first: under a causal mask the most rows see them.
template <int kPlanes>
HEADSCOPE_KERNEL void HEADSCOPE_LAUNCH_BOUNDS(map_threads, 2) map_kernel(HEADSCOPE_PARAMS MapParams p) {
  const int block = p.first_block + static_cast<int>(block_index().x);
  MapBlock<kPlanes>(p, p.first_head + block % p.heads, block / p.heads).run();
}

/// A warp folds the parts of one cell: block x has a row of cells, y is the head.
HEADSCOPE_KERNEL void HEADSCOPE_LAUNCH_BOUNDS(map_threads, 4) map_cells_kernel(HEADSCOPE_PARAMS MapParams p) {
  const int row = static_cast<int>(block_index().x), head = static_cast<int>(block_index().y);
  const int parts = p.keys.pieces_of_cell();
  for (int column = warp_index(); column < p.keys.cells(); column += map_warps) {
    const int64_t first = (int64_t{head} * p.recorded_rows + row) * p.keys.pieces() + int64_t{column} * parts;
    double sum = 0;
    uint32_t peak = 0;
    for (int i = lane_index(); i < parts; i += warp_size) {
      sum += p.cell_sums[first + i];
      peak = higher(peak, bits_of_float(p.cell_peaks[first + i]));
    }
    sum = warp_sum(sum);
    peak = warp_peak(peak);
    if (lane_index() == 0) p.write_cell(p.first_head + head, p.first_recorded + row, column, sum, float_of_bits(peak));
  }
}

/// A warp folds one bucket of one head: block x is the head.
HEADSCOPE_KERNEL void HEADSCOPE_LAUNCH_BOUNDS(map_threads, 4) map_histogram_kernel(HEADSCOPE_PARAMS MapParams p) {
  const int64_t head = block_index().x, blocks = p.keys.pieces();
  for (int64_t bucket = warp_index(); bucket < p.wanted.distance_buckets; bucket += map_warps) {
    double sum = 0;
    for (int64_t i = lane_index(); bucket < p.buckets && i < blocks; i += warp_size) {
      sum += p.histograms[(head * blocks + i) * p.buckets + bucket];
    }
    sum = warp_sum(sum);
    if (lane_index() == 0) {
      p.wanted.distance_histogram[(p.first_head + head) * p.wanted.distance_buckets + bucket] = static_cast<float>(sum);
    }
  }
}

// --- the host's side ---------------------------------------------------------------------------------------------

/// Bytes of the workspace's arrays, which lie one after the other.
struct MapWorkspace {
  size_t sums = 0, peaks = 0, histograms = 0;

  explicit MapWorkspace(const MapParams& p) {
    constexpr auto aligned = [](size_t bytes) { return (bytes + 127) / 128 * 128; };
    const size_t pieces = static_cast<size_t>(p.heads) * static_cast<size_t>(p.keys.pieces());
    histograms = aligned(pieces * static_cast<size_t>(p.buckets) * sizeof(double));
    if (!p.wants_grid() || p.keys.pieces_of_cell() == 1) return;
    sums = aligned(pieces * static_cast<size_t>(p.recorded_rows) * sizeof(double));
    peaks = aligned(pieces * static_cast<size_t>(p.recorded_rows) * sizeof(float));
  }
  size_t bytes() const { return sums + peaks + histograms; }
};

int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0 ? 1 : 0); }

/// How the map is cut, and for how many heads at a time.
MapParams plan_of(const AttentionProblem& p, const MapStatistics& wanted) {
  MapParams params;
  params.problem = p;
  params.wanted = wanted;
  const int64_t begin = p.causal_offset, end = begin + p.q_len;
  const int keys = keys_of_block(is_plain_bf16(p) ? 1 : 3);
  int bin = keys;
  if (params.wants_grid()) bin = static_cast<int>(smaller(wanted.bin, larger(1, larger(p.kv_len, end))));
  params.keys = {0, p.kv_len, bin, keys};
  const int row_bin = params.wants_grid() ? bin : flush_pieces * piece_rows;
  params.first_row_cell = static_cast<int>(floor_div(begin, row_bin));
  params.rows = {int64_t{params.first_row_cell} * row_bin, p.q_len > 0 ? end : begin, row_bin, piece_rows};
  params.first_recorded = static_cast<int>(larger(0, params.first_row_cell));
  params.recorded_rows = static_cast<int>(
      larger(0, smaller(wanted.cells, params.first_row_cell + params.rows.cells()) - params.first_recorded));
  params.buckets = wanted.distance_histogram ? static_cast<int>(smaller(wanted.distance_buckets, most_buckets)) : 0;
  const DeviceLimits limits = current_limits();
  params.shape = ScoreShape::of(p, keys, true, sizeof(MapShared) + piece_rows * sizeof(float) * weights_pitch, limits);
  const int64_t enough = ceil_div(filling_blocks(limits, tuning::map_blocks), larger(1, params.keys.pieces()));
  params.heads = static_cast<int>(smaller(p.batch * p.q_heads, enough));
  return params;
}

size_t shared_bytes(const MapParams& p) {
  const size_t pool = p.pools() ? piece_rows * sizeof(float) * static_cast<size_t>(weights_pitch) : 0;
  return p.shape.bytes() + sizeof(MapShared) + pool;
}

/// Starts what the heads of a pass need; false where a stop was requested.
bool start_pass(MapParams& p, const MapWorkspace& workspace, PacedLaunches& launches) {
  launches.clear("cells of maps", p.cell_sums, workspace.sums + workspace.peaks);
  const int blocks = p.heads * p.keys.pieces();
  const double products = p.shape.kept_planes * p.shape.passing_planes;
  const double block_work = products * p.shape.dim * p.shape.kept_rows * static_cast<double>(p.problem.q_len);
  const auto at_once = static_cast<int>(launches.at_once(block_work, blocks));
  for (p.first_block = 0; p.first_block < blocks; p.first_block += at_once) {
    const auto count = static_cast<unsigned>(smaller(at_once, blocks - p.first_block));
    if (!launches.start("map statistics", p.shape.one_plane() ? map_kernel<1> : map_kernel<3>, {count}, map_threads,
                        shared_bytes(p), p, block_work * count)) {
      return false;
    }
  }
  const auto heads = static_cast<unsigned>(p.heads);
  if (p.cell_sums && p.recorded_rows > 0 &&
      !launches.start("cells of maps", map_cells_kernel, {static_cast<unsigned>(p.recorded_rows), heads}, map_threads,
                      0, p, 0)) {
    return false;
  }
  return p.buckets == 0 || launches.start("distance histograms", map_histogram_kernel, {heads}, map_threads, 0, p, 0);
}

}  // namespace

size_t map_statistics_workspace(const AttentionProblem& p, const MapStatistics& wanted, int) {
  return MapWorkspace(plan_of(p, wanted)).bytes();
}

bool map_statistics(const AttentionProblem& p, const float* row_max, const float* log_sum, const MapStatistics& wanted,
                    std::span<std::byte> workspace, const ParallelFor& parallel, std::stop_token stop) {
  refuse_lengths(p, "map statistics");
  MapParams params = plan_of(p, wanted);
  const MapWorkspace bytes(params);
  params.row_max = row_max;
  params.log_sum = log_sum;
  if (bytes.sums > 0) {
    params.cell_sums = reinterpret_cast<double*>(workspace.data());
    params.cell_peaks = reinterpret_cast<float*>(workspace.data() + bytes.sums);
  }
  params.histograms = reinterpret_cast<double*>(workspace.data() + bytes.sums + bytes.peaks);
  PacedLaunches launches(parallel, stop);
  const int64_t heads = p.batch * p.q_heads;
  const auto grid_bytes = static_cast<size_t>(heads * wanted.cells * wanted.cells) * sizeof(uint16_t);
  if (wanted.grid_mean) launches.clear("grids of means", wanted.grid_mean, grid_bytes);
  if (wanted.grid_max) launches.clear("grids of maxima", wanted.grid_max, grid_bytes);
  const int at_once = params.heads;
  for (; params.first_head < heads; params.first_head += at_once) {
    params.heads = static_cast<int>(smaller(at_once, heads - params.first_head));
    if (!start_pass(params, bytes, launches)) return false;
  }
  return !stop.stop_requested();
}

}  // namespace headscope::cuda
