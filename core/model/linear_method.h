#pragma once

namespace headscope {

/// Who multiplies f32 weights with more than few_tokens tokens (kernels/linear.h). Fewer tokens, and bf16 weights, go
/// through our kernels in any case.
enum class LinearMethod { own, libtorch };

}  // namespace headscope
