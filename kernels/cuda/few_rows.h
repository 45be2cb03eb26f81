#pragma once

#include <span>

#include "kernels/cuda/attention.h"

namespace headscope::cuda {

// The forward pass of few query rows (few_rows.cu): decoding, and keys or values too large for forward.cu's tiles.
// Contracts as in attention.h.

/// Whether few_rows_forward runs the problem, rather than the kernel for many rows. It does for one row a head, and
/// whenever lengths are read on the device: what is launched hangs on the longest alone, and one row has the bits of a
/// launch of its own at every length.
bool few_rows_takes(const AttentionProblem&);

size_t few_rows_workspace(const AttentionProblem&, const AttentionOutput&, int workers);
void few_rows_forward(const AttentionProblem&, const AttentionOutput&, std::span<std::byte> workspace,
                      const ParallelFor&);

}  // namespace headscope::cuda
