#include "kernels/cuda/attention.h"

#include <stdexcept>

#include "kernels/cuda/few_rows_plan.cuh"

namespace headscope::cuda {

std::optional<std::string> unsupported(const AttentionProblem& p) {
  constexpr int64_t most_key_dim = 576, most_value_dim = 512;  // absorbed MLA's
  if (p.key_dim > most_key_dim || p.value_dim > most_value_dim) {
    return "CUDA kernels take keys of at most 576 numbers and values of at most 512";
  }
  const DeviceLimits limits = current_limits();
  if (!tiles_fit(p, limits)) {
    return "this GPU has " + std::to_string(limits.block_bytes / 1024) +
           " KiB of shared memory for a block, too little for keys of " + std::to_string(p.key_dim) +
           " numbers and values of " + std::to_string(p.value_dim) + " in these types";
  }
  return std::nullopt;
}

void refuse_lengths(const AttentionProblem& p, std::string_view operation) {
  if (p.lengths) throw std::invalid_argument(std::string(operation) + " cannot read lengths in a device's memory");
}

AttentionKernel attention_kernel(std::string_view name) {
  return {.name = name,
          .device = "cuda",
          .unsupported = unsupported,
          .forward_workspace = forward_workspace,
          .forward = forward,
          .tiles_workspace = tiles_workspace,
          .tiles = tiles,
          .map_statistics_workspace = map_statistics_workspace,
          .map_statistics = map_statistics,
          .divergence_workspace = divergence_workspace,
          .divergence = divergence};
}

}  // namespace headscope::cuda
