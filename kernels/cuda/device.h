#pragma once

// What kernels in this folder are written with: one set of names for the GPU, where nvcc compiles them, and for the
// emulator (emulator/emulator.h), where the same files are ordinary C++ and every GPU thread is a fiber. So the tests
// of machines without a GPU run the kernels themselves: indices, masks, fragments, barriers. What they cannot show is
// speed and the rounding of the GPU's own approximations, which the comments here state.
//
// A thread of a block: thread_index() in [0, block_threads()), a multiple of 32 threads. All memory that threads share
// is shared_memory(), as large as the launch asked for.

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/device_limits.h"

namespace headscope::cuda {

struct Grid {
  unsigned x = 1, y = 1, z = 1;
};

inline constexpr int warp_size = 32;

}  // namespace headscope::cuda

#ifdef __CUDACC__
#include "kernels/cuda/device_gpu.h"
#else
#include "kernels/cuda/emulator/device_host.h"
#endif
