#include "tests/kernels/tested_kernels.h"

namespace headscope::testing {

std::span<const AttentionKernel> tested_kernels() { return attention_kernels().subspan(1); }

}  // namespace headscope::testing
