#pragma once

#include "kernels/kernels.h"

namespace headscope::reference {

// The functions of AttentionKernel.
size_t tiles_workspace(const AttentionProblem&, std::span<const TileRequest>, int workers);
bool tiles(const AttentionProblem&, const float* row_max, const float* log_sum, std::span<const TileRequest>,
           std::span<float* const> cells, std::span<std::byte> workspace, const ParallelFor&, std::stop_token);

}  // namespace headscope::reference
