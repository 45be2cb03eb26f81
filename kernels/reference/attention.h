#pragma once

#include "kernels/kernels.h"

namespace headscope {

/// The definition of every attention operation: double precision, three loops, no blocking. It supports every
/// field of AttentionProblem and is what all other kernels are tested against. Cost per row: kv_len doubles of
/// scratch; keys that are rotated when they are read are rotated once per call into f32 rows, as if they had been
/// stored.
AttentionKernel reference_attention_kernel();

}  // namespace headscope
