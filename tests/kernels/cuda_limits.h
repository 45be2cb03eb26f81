#pragma once

#include "kernels/cuda/device_limits.h"

namespace headscope::testing {

/// The limits of GPUs by their compute capability: shared memory of a block and of a multiprocessor as the CUDA
/// programming guide's table of technical specifications has it, and the multiprocessors of one model.
struct NamedLimits {
  const char* name;
  cuda::DeviceLimits limits;
};
inline constexpr size_t kib = 1024;
inline constexpr NamedLimits device_limits[] = {
    {"capability_9_0", {227 * kib, 228 * kib, 132}},  // H200
    {"capability_8_0", {163 * kib, 164 * kib, 108}},  // A100
    {"capability_8_6", {99 * kib, 100 * kib, 84}},    // A40
    {"capability_12_0", {99 * kib, 100 * kib, 170}},  // RTX 5090
};
inline constexpr const cuda::DeviceLimits& small_limits = device_limits[2].limits;

}  // namespace headscope::testing
