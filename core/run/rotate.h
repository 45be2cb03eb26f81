#pragma once

#include <ATen/core/Tensor.h>

#include "core/data/rope_table.h"

namespace headscope {

/// Cosines and sines [2, tokens, 1, pairs] of the positions from `first_position` on, on the host.
at::Tensor rope_angles(const RopeTable&, int64_t first_position, int64_t tokens);
/// Rotates f32 rows [tokens, heads * dim] in place by LibTorch's operations. `angles` are of each row, or of one
/// position for all, and lie where the rows do.
void turn_rows(const RopeTable&, at::Tensor rows, int64_t heads, const at::Tensor& angles);
/// Rotates f32 rows [tokens, heads * dim] in place, wherever the tensor lies; row t has position first_position + t.
/// `by_tensors`: by LibTorch's operations, as on a GPU; else by RopeTable itself, which only the host's memory allows.
void rotate_rows(const RopeTable&, at::Tensor rows, int64_t heads, int64_t first_position, bool by_tensors,
                 const ParallelFor&);

}  // namespace headscope
