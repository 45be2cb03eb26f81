// The kernel suite on a real GPU. Without one it says SKIPPED and why, and ends with the code that ctest shows so.
#include <gtest/gtest.h>

#include <iostream>

#include "core/data/cuda_library.h"
#include "tests/kernels/staged_kernel.h"
#include "tests/kernels/tested_kernels.h"

namespace headscope::testing {
namespace {

constexpr int skipped = 77, failed = 1;

/// The GPU of this machine, opened once.
struct Gpu {
  CudaAccess access = open_cuda();
  std::unique_ptr<const DeviceMemory> memory = access.library ? cuda_memory(access.device) : nullptr;
};

const Gpu& gpu() {
  static const Gpu found;
  return found;
}

const StagedTarget& target() {
  static const StagedTarget found{*gpu().access.library->kernels, *gpu().memory};
  return found;
}

/// Why nothing can be tested; empty when it can.
std::string reason_to_skip() {
  if (!gpu().access.refusal.empty()) return gpu().access.refusal;
  return gpu().access.library->kernel_count == 0 ? "the CUDA library has no attention kernels" : "";
}

}  // namespace

std::span<const AttentionKernel> tested_kernels() {
  static const AttentionKernel kernel = staged_kernel<target>();
  return {&kernel, 1};
}

int run_on_gpu(int argc, char** argv) {
  if (const std::string reason = reason_to_skip(); !reason.empty()) {
    std::cout << "SKIPPED: " << reason << "\n";
    return skipped;
  }
  if (const int count = gpu().access.library->kernel_count; count != 1) {
    std::cout << "FAILED: the CUDA library has " << count << " kernels, and this program tests one\n";
    return failed;
  }
  std::cout << "device: " << gpu().access.device_name << "\n";
  ::testing::InitGoogleTest(&argc, argv);
  const int result = RUN_ALL_TESTS();
  if (::testing::GTEST_FLAG(list_tests)) return result;
  if (::testing::UnitTest::GetInstance()->successful_test_count() > 0) return result;
  std::cout << "FAILED: no test passed\n";
  return failed;
}

}  // namespace headscope::testing

int main(int argc, char** argv) { return headscope::testing::run_on_gpu(argc, argv); }
