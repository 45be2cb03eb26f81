#pragma once

#include "kernels/kernels.h"
#include "tests/kernels/device_memory.h"

namespace headscope::testing {

/// A kernel that takes the memory of a device, and that memory.
struct StagedTarget {
  AttentionKernel kernel;
  const DeviceMemory& memory;
};

// The operations of `target.kernel` for problems and outputs in the host's memory: what they read is copied to the
// device, what they write back (staging.h). The workspace is a copy as well, of the size that the caller gives.
void staged_forward(const StagedTarget&, AttentionProblem, AttentionOutput, std::span<std::byte> workspace,
                    const ParallelFor&);
bool staged_tiles(const StagedTarget&, AttentionProblem, const float* row_max, const float* log_sum,
                  std::span<const TileRequest>, std::span<float* const> cells, std::span<std::byte> workspace,
                  const ParallelFor&, std::stop_token);
bool staged_map_statistics(const StagedTarget&, AttentionProblem, const float* row_max, const float* log_sum,
                           MapStatistics, std::span<std::byte> workspace, const ParallelFor&, std::stop_token);
bool staged_divergence(const StagedTarget&, AttentionProblem, const float* row_max, const float* log_sum,
                       const DivergenceRequest&, DivergenceOutput, std::span<std::byte> workspace, const ParallelFor&,
                       std::stop_token);

/// A kernel of the host's memory out of one of the device's; `kTarget` gives the same target at every call. It has the
/// name and the device of the target's kernel.
template <const StagedTarget& (*kTarget)()>
AttentionKernel staged_kernel() {
  AttentionKernel staged = kTarget().kernel;  // sizes of workspaces follow no pointer
  staged.forward = [](const AttentionProblem& p, const AttentionOutput& o, std::span<std::byte> workspace,
                      const ParallelFor& parallel) { staged_forward(kTarget(), p, o, workspace, parallel); };
  staged.tiles = [](const AttentionProblem& p, const float* row_max, const float* log_sum,
                    std::span<const TileRequest> requests, std::span<float* const> cells,
                    std::span<std::byte> workspace, const ParallelFor& parallel, std::stop_token stop) {
    return staged_tiles(kTarget(), p, row_max, log_sum, requests, cells, workspace, parallel, std::move(stop));
  };
  staged.map_statistics = [](const AttentionProblem& p, const float* row_max, const float* log_sum,
                             const MapStatistics& wanted, std::span<std::byte> workspace, const ParallelFor& parallel,
                             std::stop_token stop) {
    return staged_map_statistics(kTarget(), p, row_max, log_sum, wanted, workspace, parallel, std::move(stop));
  };
  staged.divergence = [](const AttentionProblem& p, const float* row_max, const float* log_sum,
                         const DivergenceRequest& request, const DivergenceOutput& output,
                         std::span<std::byte> workspace, const ParallelFor& parallel, std::stop_token stop) {
    return staged_divergence(kTarget(), p, row_max, log_sum, request, output, workspace, parallel, std::move(stop));
  };
  return staged;
}

}  // namespace headscope::testing
