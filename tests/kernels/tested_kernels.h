#pragma once

#include <span>

#include "kernels/kernels.h"

namespace headscope::testing {

/// The kernels that a test program is about, the reference not among them: those of the CPU, or those of CUDA. Each
/// program defines it.
std::span<const AttentionKernel> tested_kernels();

}  // namespace headscope::testing
