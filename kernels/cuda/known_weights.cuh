#pragma once

#include "kernels/cuda/score_tile.cuh"

namespace headscope::cuda {

// From score tiles to weights where the log-sum-exp of each row is known, and from weights to cells: what tiles and map
// statistics share.

/// 0 where the row does not see the key; NaN where it does and its log-sum-exp is NaN.
HEADSCOPE_DEVICE float known_weight(const RowShift& row, float score) {
  return score == minus_infinity() ? 0.0F : row.weight(score);
}

/// What a block knows of its rows, in shared memory, in groups of 64 places.
template <int kPlaces>
struct KnownRows {
  QueryRow row[kPlaces];  ///< without keys where there is none
  RowShift shift[kPlaces];
  /// Keys that each of the 64 rows of a group sees, if scores are plain; empty where rows are missing.
  KeyRange seen_by_all[kPlaces / piece_rows];

  /// All threads together, a barrier must come before anyone reads. `row_at(place)` is the row there, negative: none;
  /// `head` is among batch * q_heads.
  template <class RowAt>
  HEADSCOPE_DEVICE void fill(const AttentionProblem& p, int64_t head, const float* row_max, const float* log_sum,
                             const RowAt& row_at) {
    for (int place = thread_index(); place < kPlaces; place += block_threads()) {
      const int64_t index = row_at(place);
      row[place] = QueryRow{};
      shift[place] = RowShift{};
      if (place % piece_rows == 0) seen_by_all[place / piece_rows] = all_of(p, index, row_at(place + piece_rows - 1));
      if (index < 0) continue;
      row[place] = query_row(p, head % p.q_heads, index);
      shift[place] = RowShift::of(row[place], row_max[head * p.q_len + index], log_sum[head * p.q_len + index]);
    }
  }

 private:
  HEADSCOPE_DEVICE static KeyRange all_of(const AttentionProblem& p, int64_t first, int64_t last) {
    return first >= 0 && last >= 0 && is_plain(p) ? keys_of_all(p, first, last) : KeyRange{};
  }
};

/// Where number `i` of a fragment's block lies, as multiply_scores has it.
HEADSCOPE_DEVICE int row_in_fragment(int i) { return lane_index() / 4 + i / 2 * 8; }
HEADSCOPE_DEVICE int column_in_fragment(int i) { return lane_index() % 4 * 2 + i % 2; }

/// Puts weights in the place of products: of rows at `first_place` and every `row_step` on, and of the keys from
/// `first_key` on among the `places` that the block has for `keys`. 0 where there is no such row or key.
template <int kPlaces, int kRows, int kBlocks>
HEADSCOPE_DEVICE void weigh(const AttentionProblem& p, const KnownRows<kPlaces>& rows, int first_place, int row_step,
                            const KeyRange& keys, int places, int first_key, float (&dots)[kRows][kBlocks][4]) {
  HEADSCOPE_UNROLL
  for (int r = 0; r < kRows; ++r) {
    const KeyRange& all = rows.seen_by_all[(first_place + r * row_step) / piece_rows];
    const bool plain = keys.begin >= all.begin && keys.begin + places <= all.end && keys.end - keys.begin == places;
    HEADSCOPE_UNROLL
    for (int half = 0; half < 2; ++half) {
      const int place = first_place + r * row_step + row_in_fragment(2 * half);
      const RowShift shift = rows.shift[place];
      const QueryRow& row = rows.row[place];
      HEADSCOPE_UNROLL
      for (int n = 0; n < kBlocks; ++n) {
        HEADSCOPE_UNROLL
        for (int i = 2 * half; i < 2 * half + 2; ++i) {
          const int64_t key = keys.begin + first_key + 8 * n + column_in_fragment(i);
          float score = minus_infinity();
          if (plain) {
            score = plain_score(p, dots[r][n][i]);
          } else if (key < keys.end) {
            score = score_of(p, row, dots[r][n][i], key);
          }
          dots[r][n][i] = known_weight(shift, score);
        }
      }
    }
  }
}

/// Weights are ordered as their bits are, NaN above all.
HEADSCOPE_DEVICE uint32_t weight_bits(float weight) { return bits_of_float(weight) & 0x7FFFFFFFU; }
HEADSCOPE_DEVICE uint32_t higher(uint32_t a, uint32_t b) { return a > b ? a : b; }

/// Over the warp, in an order that every lane shares.
HEADSCOPE_DEVICE double warp_sum(double value) {
  for (int mask = 16; mask > 0; mask /= 2) value += shuffle_xor(value, mask);
  return value;
}
HEADSCOPE_DEVICE uint32_t warp_peak(uint32_t bits) {
  for (int mask = 16; mask > 0; mask /= 2) bits = higher(bits, shuffle_xor(bits, mask));
  return bits;
}

/// Weights of a tile in shared memory, row after row, pooled in two steps with a barrier between: first the places of
/// each cell in one row, then its rows. The order depends on the place in the cell alone.
struct WeightTile {
  float* data = nullptr;
  int pitch = 0;

  HEADSCOPE_DEVICE float* row(int index) const { return data + index * pitch; }

  /// Leaves the sum at each cell's first place and the largest at its second; bin > 1. All threads together.
  HEADSCOPE_DEVICE void pool_columns(int rows, int cells, int bin) const {
    for (int item = thread_index(); item < rows * cells; item += block_threads()) {
      float* const first = row(item % rows) + item / rows * bin;
      float sum = 0;
      uint32_t peak = 0;
      for (int i = 0; i < bin; ++i) {
        sum += first[i];
        peak = higher(peak, weight_bits(first[i]));
      }
      first[0] = sum;
      first[1] = float_of_bits(peak);
    }
  }
  HEADSCOPE_DEVICE double sum_of_rows(int first_row, int rows, int column) const {
    double sum = 0;
    for (int i = 0; i < rows; ++i) sum += double{row(first_row + i)[column]};
    return sum;
  }
  HEADSCOPE_DEVICE float peak_of_rows(int first_row, int rows, int column) const {
    uint32_t peak = 0;
    for (int i = 0; i < rows; ++i) peak = higher(peak, bits_of_float(row(first_row + i)[column + 1]));
    return float_of_bits(peak);
  }
};

}  // namespace headscope::cuda
