#include "kernels/cuda/attention.h"
#include "kernels/cuda/scores.cuh"

namespace headscope::cuda {

size_t forward_workspace(const AttentionProblem&, const AttentionOutput&, int) { return 0; }

void forward(const AttentionProblem&, const AttentionOutput&, std::span<std::byte>, const ParallelFor&) {}

}  // namespace headscope::cuda
