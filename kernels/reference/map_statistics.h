#pragma once

#include "kernels/kernels.h"

namespace headscope::reference {

// The functions of AttentionKernel.
size_t map_statistics_workspace(const AttentionProblem&, const MapStatistics&, int workers);
bool map_statistics(const AttentionProblem&, const float* row_max, const float* log_sum, const MapStatistics&,
                    std::span<std::byte> workspace, const ParallelFor&, std::stop_token);

}  // namespace headscope::reference
