#pragma once

#include "kernels/kernels.h"

namespace headscope::reference {

// The definition of the divergences: double precision, whole rows at once. Scratch per worker is q_heads * kv_len
// doubles.

size_t divergence_workspace(const AttentionProblem&, const DivergenceRequest&, int workers);

bool divergence(const AttentionProblem&, const float* row_max, const float* log_sum, const DivergenceRequest&,
                const DivergenceOutput&, std::span<std::byte> workspace, const ParallelFor&, std::stop_token stop);

}  // namespace headscope::reference
