// The fastest kernel of the processor behind the staging of test_gpu, over memory that only looks like a device's: what
// the suite finds there is what the staging does.
#include "tests/kernels/staged_kernel.h"
#include "tests/kernels/tested_kernels.h"

namespace headscope::testing {
namespace {

const StagedTarget& target() {
  static const std::unique_ptr<const DeviceMemory> memory = host_memory();
  static const StagedTarget found{select_attention_kernel(AttentionProblem()), *memory};
  return found;
}

}  // namespace

std::span<const AttentionKernel> tested_kernels() {
  static const AttentionKernel kernel = staged_kernel<target>();
  return {&kernel, 1};
}

}  // namespace headscope::testing
