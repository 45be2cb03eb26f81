#pragma once

#include "kernels/kernels.h"

namespace headscope {

/// The definition of every attention operation: double precision, three loops, no blocking. It supports every
/// field of AttentionProblem and is what all other kernels are tested against. Cost per row: kv_len doubles of
/// scratch; K made from V is rotated once per call into f32 rows, as if it had been stored.
AttentionKernel reference_attention_kernel();

}  // namespace headscope
