#pragma once

#include <span>

#include "kernels/cuda/attention.h"

namespace headscope::cuda {

// The forward pass of few query rows (few_rows.cu): decoding, and keys or values too large for forward.cu's tiles.
// Contracts as in attention.h.

/// Whether few_rows_forward runs the problem, rather than the kernel for many rows.
bool few_rows_takes(const AttentionProblem&);

size_t few_rows_workspace(const AttentionProblem&, const AttentionOutput&, int workers);
void few_rows_forward(const AttentionProblem&, const AttentionOutput&, std::span<std::byte> workspace,
                      const ParallelFor&);

/// Lengths of a problem in the memory of the device.
struct DecodeLengths {
  int64_t kv_len;
  int64_t causal_offset;
};

// The same for a CUDA graph of a decode step: what is launched hangs on the problem, and its kernels take the lengths
// that `lengths` holds when they run. They may be no longer than those of the problem. Rows of key_log_weight are
// kv_len of `lengths` apart; those of outputs and the rotation's tables as the problem says. Not for q_len of 0.
size_t few_rows_workspace(const AttentionProblem&, const AttentionOutput&, const DecodeLengths* lengths);
void few_rows_forward(const AttentionProblem&, const AttentionOutput&, const DecodeLengths* lengths,
                      std::span<std::byte> workspace, const ParallelFor&);

}  // namespace headscope::cuda
