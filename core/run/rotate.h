#pragma once

#include <ATen/core/Tensor.h>

#include "core/data/rope_table.h"

namespace headscope {

/// Rotates f32 rows [tokens, heads * dim] in place, wherever the tensor lies; row t has position first_position + t.
/// `by_tensors`: by LibTorch's operations, as on a GPU; else by RopeTable itself, which only the host's memory allows.
void rotate_rows(const RopeTable&, at::Tensor rows, int64_t heads, int64_t first_position, bool by_tensors,
                 const ParallelFor&);

}  // namespace headscope
