#pragma once

#include <vector>

#include "kernels/kernels.h"

namespace headscope {

/// The f32 kernels of this build that this processor can run, one per vector instruction set ("cpu/SSE4",
/// "cpu/AVX2", "cpu/AVX3" = AVX-512), slowest first; none on a processor without SSE4.
std::vector<AttentionKernel> cpu_attention_kernels();

}  // namespace headscope
