#pragma once

#include "kernels/cuda/few_rows.h"
#include "kernels/cuda/few_rows_plan.cuh"
#include "kernels/cuda/thumbnails.cuh"

namespace headscope::cuda {

// What the kernels of few_rows.cu are given, and what a split leaves for the kernel that folds splits.

/// Place of a row in [batch, q_heads, q_len].
HEADSCOPE_HOST_DEVICE int64_t flat(const AttentionProblem& p, int64_t batch, const QueryRow& row) {
  return (batch * p.q_heads + row.head) * p.q_len + row.row;
}

/// Of each split and each row of the problem, in the workspace. Null where that is not needed.
struct Partials {
  RowState* states = nullptr;  ///< [splits][rows]
  float* values = nullptr;     ///< [splits][rows][pitch], sums of w v
  Bin* bins = nullptr;         ///< [splits][rows][bins_of_split], from the bin on in which the split begins
  int64_t rows = 0;
  int64_t bins_of_split = 0;
  int pitch = 0;  ///< value_dim, padded

  HEADSCOPE_DEVICE RowState* state(int64_t split, int64_t row) const { return states + split * rows + row; }
  HEADSCOPE_DEVICE float* value_row(int64_t split, int64_t row) const { return values + (split * rows + row) * pitch; }
  HEADSCOPE_DEVICE Bin* bin_row(int64_t split, int64_t row) const {
    return bins + (split * rows + row) * bins_of_split;
  }
};

struct FewRowsParams {
  AttentionProblem problem;
  AttentionOutput output;
  TilePlan tiles;
  Partials partials;
  int64_t blocks = 1;                      ///< of the first kernel, for each split
  bool is_split = false;                   ///< rows are: fold_kernel writes their results

  HEADSCOPE_DEVICE AttentionProblem problem_now() const {
    AttentionProblem p = problem;
    if (p.lengths) p.kv_len = p.lengths->kv_len, p.causal_offset = p.lengths->causal_offset;
    return p;
  }
  /// Where a block's sums of values go: to `out`, or where rows are split to the part of the split.
  HEADSCOPE_DEVICE float* sums_of(const AttentionProblem& p, int64_t batch, const QueryRow& row, int64_t split) const {
    return is_split ? partials.value_row(split, flat(p, batch, row)) : output_row(output.out, batch, row.head, row.row);
  }
  HEADSCOPE_HOST_DEVICE SplitPlan split_plan(const AttentionProblem& p) const {
    return SplitPlan::of(keys_of_any(p, 0, p.q_len - 1), blocks, tiles.wanted_blocks);
  }
};

// --- folding -----------------------------------------------------------------------------------------------------

inline constexpr int fold_threads = 128;

/// The state that lane `lane ^ mask` holds.
HEADSCOPE_DEVICE RowState shuffle_state(RowState state, int mask) {
  state.row_max = shuffle_xor(state.row_max, mask);
  state.argmax = shuffle_xor(state.argmax, mask);
  for (double* sum : {&state.sum, &state.cross, &state.mean, &state.scatter, &state.sink, &state.window}) {
    *sum = shuffle_xor(*sum, mask);
  }
  return state;
}

/// The state of a row over all splits: lanes of a warp join neighbouring ones, then each other, in the order of the
/// keys. All lanes return it.
HEADSCOPE_DEVICE RowState joined_state(const Partials& from, int64_t row, int64_t splits) {
  const int64_t share = ceil_div(splits, warp_size), begin = lane_index() * share;
  RowState state;
  for (int64_t split = begin; split < begin + share && split < splits; ++split) join(state, *from.state(split, row));
  for (int mask = 1; mask < warp_size; mask *= 2) {
    const RowState other = shuffle_state(state, mask);
    const bool first = (lane_index() & mask) == 0;
    const RowState later = first ? other : state;
    if (!first) state = other;
    join(state, later);
  }
  return state;
}

}  // namespace headscope::cuda
