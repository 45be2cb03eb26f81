#pragma once

#include <vector>

#include "core/arch/architecture.h"

namespace headscope {

/// What the architecture says of the attention of one layer: heads, dimensions, scale, window, soft cap. The caller
/// adds lengths, the offset, the views of Q, K and V, and the slopes.
AttentionProblem layer_problem(const Architecture&, int64_t layer);

/// ALiBi slopes [q_heads] of the layer as kernels take them; empty when the model has none.
std::vector<float> layer_alibi_slopes(const Architecture&, int64_t layer);

}  // namespace headscope
