#include "kernels/cuda/attention.h"
#include "tests/kernels/tested_kernels.h"

namespace headscope::testing {

std::span<const AttentionKernel> tested_kernels() {
  static const AttentionKernel kernel = cuda::attention_kernel("cuda/emulated");
  return {&kernel, 1};
}

}  // namespace headscope::testing
