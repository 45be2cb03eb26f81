#pragma once

#include "kernels/cuda/softmax.cuh"

namespace headscope::cuda {

// Thumbnails on the way of a forward pass. What a row weighs in each bin of keys is known only when all its keys are
// in, so until then a block keeps, of each row and bin, sums relative to the row's maximum of that time.

/// What a row weighs in one bin so far.
struct alignas(16) Bin {
  float sum;      ///< w
  float largest;  ///< largest w
  float row_max;  ///< what both are relative to
};

/// What a tile weighs in one bin: the own row of a lane.
struct BinPart {
  float sum, largest;
};

/// Of the columns of a bin. The whole warp takes part.
template <int kBlocks>
HEADSCOPE_DEVICE BinPart weigh_columns(const float (&weights)[kBlocks][4], ColumnRange columns) {
  float sums[2] = {0, 0}, largest[2] = {0, 0};
  HEADSCOPE_UNROLL
  for (int n = 0; n < kBlocks; ++n) {
    if (8 * n + 8 <= columns.begin || 8 * n >= columns.end) continue;
    HEADSCOPE_UNROLL
    for (int i = 0; i < 4; ++i) {
      const float w = columns.holds(tile_column(n, i)) ? weights[n][i] : 0.0F;
      sums[i / 2] += w;
      largest[i / 2] = fmaxf(largest[i / 2], w);
    }
  }
  const float first = quad_max(largest[0]), second = quad_max(largest[1]);
  return {quad_sum(sums[0], sums[1]), own_of(first, second)};
}

/// Adds a tile that starts at `first_key` to the bins of a lane's own row, [cells] `stride` apart. `first` of the
/// block's tiles: what is in memory counts for nothing.
template <int kBlocks>
HEADSCOPE_DEVICE void add_to_bins(Bin* bins, int stride, const Thumbnails& wanted, int64_t first_key, bool first,
                                  const LaneRows& rows, const TileEffect& effect, const float (&weights)[kBlocks][4]) {
  constexpr int tile_keys = 8 * kBlocks;
  const float row_max = rows.state.row_max;
  for (int64_t bin = first_key / wanted.bin; bin < wanted.cells && bin * wanted.bin < first_key + tile_keys; ++bin) {
    const int64_t begin = bin * wanted.bin;
    const ColumnRange columns = columns_of({begin, begin + wanted.bin}, first_key, tile_keys);
    BinPart part{effect.own_sum, exp2_fast((own_of(effect.peaks[0], effect.peaks[1]) - row_max) * log2_e)};
    if (row_max == minus_infinity()) part.largest = 0;
    if (columns.begin > 0 || columns.end < tile_keys) part = weigh_columns(weights, columns);
    if (lane_index() % 4 > 1) continue;  // the other lane of the same row writes
    Bin& to = bins[bin * stride];
    if (!first && begin < first_key) {
      const float factor = shrinkage(to.row_max, row_max);
      part.sum += to.sum * factor;
      part.largest = fmaxf(part.largest, to.largest * factor);
    }
    to = {part.sum, part.largest, row_max};
  }
}

/// A row whose keys are all in, in shared memory.
struct FinishedRow {
  float row_max;
  float inverse;  ///< of the sum of weights; NaN where a score was
  int cell_row;   ///< -1 where the row is in no cell
};

HEADSCOPE_DEVICE FinishedRow finished_row(const QueryRow& row, const RowState& state, const Thumbnails& wanted) {
  const bool recorded = row.exists() && row.position >= 0 && row.position < wanted.cells * wanted.bin;
  return {state.row_max, static_cast<float>(inverse_sum(state)),
          recorded ? static_cast<int>(row.position / wanted.bin) : -1};
}

/// Adds to the sum of a cell that several blocks share. A negative amount stands for NaN, which stays.
HEADSCOPE_DEVICE void add_to_cell(int64_t* cell, int64_t amount) {
  auto* bits = reinterpret_cast<uint64_t*>(cell);
  uint64_t seen = *bits;
  for (;;) {
    if (amount == 0 || (static_cast<int64_t>(seen) < 0 && amount > 0)) return;
    const int64_t sum = amount < 0 ? Thumbnails::sum_of_nan : static_cast<int64_t>(seen) + amount;
    const uint64_t before = atomic_swap_if(bits, seen, static_cast<uint64_t>(sum));
    if (before == seen) return;
    seen = before;
  }
}

/// Rows of the same cell are joined before they go to the maps, which other blocks share.
struct CellPart {
  float largest = 0;
  int64_t sum = 0;  ///< in Thumbnails::sum_unit
  bool nan = false;

  HEADSCOPE_DEVICE void add(const FinishedRow& row, const Bin& bin) {
    const float scale = shrinkage(bin.row_max, row.row_max) * row.inverse;
    largest = fmaxf(largest, bin.largest * scale);
    sum += llrintf(bin.sum * (scale * static_cast<float>(1 / Thumbnails::sum_unit)));
  }
  HEADSCOPE_DEVICE void flush(const Thumbnails& wanted, int64_t cell) const {
    constexpr uint32_t nan_bits = 0x7FC00000;  // above all numbers
    if (wanted.max && (nan || largest > 0)) {
      atomic_max(reinterpret_cast<uint32_t*>(wanted.max + cell), nan ? nan_bits : bits_of_float(largest));
    }
    if (wanted.sum) add_to_cell(wanted.sum + cell, nan ? Thumbnails::sum_of_nan : sum);
  }
};

HEADSCOPE_DEVICE bool sees_any(const QueryRow& row, KeyRange keys) {
  for (int64_t key = keys.begin; key < keys.end; ++key) {
    if (row.sees(key)) return true;
  }
  return false;
}

/// Writes the cells of a block's rows from their bins [cells][count], of keys `visited`. `first_cell` is the first of
/// the head's. All threads of the block together, behind a barrier.
HEADSCOPE_DEVICE void write_cells(const Bin* bins, int count, const Thumbnails& wanted, int64_t first_cell,
                                  const QueryRow* rows, const FinishedRow* finished, KeyRange visited) {
  for (int64_t bin = visited.begin / wanted.bin + thread_index(); bin < wanted.cells && bin * wanted.bin < visited.end;
       bin += block_threads()) {
    CellPart part;
    for (int row = 0; row < count; ++row) {
      const FinishedRow& one = finished[row];
      if (one.cell_row < 0) continue;
      if (one.inverse == one.inverse) {
        part.add(one, bins[bin * count + row]);
      } else if (sees_any(rows[row], {bin * wanted.bin, (bin + 1) * wanted.bin})) {
        part.nan = true;
      }
      if (row + 1 < count && finished[row + 1].cell_row == one.cell_row) continue;
      part.flush(wanted, first_cell + one.cell_row * wanted.cells + bin);
      part = {};
    }
  }
}

}  // namespace headscope::cuda
