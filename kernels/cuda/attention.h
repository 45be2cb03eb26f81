#pragma once

#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>

#include "kernels/kernels.h"

namespace headscope::cuda {

// The operations of AttentionKernel (kernels/kernels.h) on a GPU, one file each. Pointers of problems, outputs, cells
// and workspaces name the memory of the device; spans of requests are the host's. Work goes to ParallelFor::stream()
// and the functions return when it is started, not when it is done, but for those that say otherwise. A stop is looked
// at between launches. They throw CudaError (library.h) when a launch fails.

/// Why the kernels cannot run the problem on the calling thread's current device, or nothing.
std::optional<std::string> unsupported(const AttentionProblem&);

/// Throws std::invalid_argument, for an operation that cannot read lengths on the device: see
/// AttentionProblem::lengths.
void refuse_lengths(const AttentionProblem&, std::string_view operation);

// forward.cu
size_t forward_workspace(const AttentionProblem&, const AttentionOutput&, int workers);
void forward(const AttentionProblem&, const AttentionOutput&, std::span<std::byte> workspace, const ParallelFor&);

// tiles.cu
size_t tiles_workspace(const AttentionProblem&, std::span<const TileRequest>, int workers);
bool tiles(const AttentionProblem&, const float* row_max, const float* log_sum, std::span<const TileRequest>,
           std::span<float* const> cells, std::span<std::byte> workspace, const ParallelFor&, std::stop_token);

// map_statistics.cu
size_t map_statistics_workspace(const AttentionProblem&, const MapStatistics&, int workers);
bool map_statistics(const AttentionProblem&, const float* row_max, const float* log_sum, const MapStatistics&,
                    std::span<std::byte> workspace, const ParallelFor&, std::stop_token);

// divergence.cu. The arrays of DivergenceOutput lie in the memory of the device, too: results are finished there.
size_t divergence_workspace(const AttentionProblem&, const DivergenceRequest&, int workers);
bool divergence(const AttentionProblem&, const float* row_max, const float* log_sum, const DivergenceRequest&,
                const DivergenceOutput&, std::span<std::byte> workspace, const ParallelFor&, std::stop_token);

/// All of them; `name` is "cuda", and "cuda/emulated" where the emulator runs them.
AttentionKernel attention_kernel(std::string_view name);

}  // namespace headscope::cuda
