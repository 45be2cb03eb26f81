// LibTorch asks once a process whether its CUDA part is there, and remembers: a program of its own, with one test.
#include <ATen/detail/CUDAHooksInterface.h>
#include <gmock/gmock.h>

#include "core/data/cuda_library.h"

namespace headscope::test {
namespace {

TEST(CudaHooks, libtorch_knows_cuda_once_the_library_is_loaded) {
  const CudaAccess access = open_cuda(HEADSCOPE_CUDA_FILE);
  const at::CUDAHooksInterface& hooks = at::detail::getCUDAHooks();
  EXPECT_TRUE(hooks.compiledWithCuDNN());  // false of what LibTorch has in the place of its CUDA part
  EXPECT_TRUE(hooks.hasCUDART());
  EXPECT_EQ(hooks.hasCUDA(), access.refusal.empty()) << access.refusal;
}

}  // namespace
}  // namespace headscope::test
