#pragma once

#include <ATen/core/Tensor.h>

namespace headscope {

/// How the product of bf16 weights with f32 activations is made. Sums are f32 in all of them.
enum class Bf16Way {
  rounded,  ///< activations and results are rounded to bf16: LibTorch has no product of bf16 with an f32 result here
  widened,  ///< nothing is rounded: blocks of rows of the weights are widened to f32 in turn (at most 8 MiB)
  vector,   ///< nothing is rounded: our own kernel, for one token
};

/// The fastest way for a number of tokens on this processor (docs/measurements/bf16-linear.md). `exact` leaves out
/// the one that rounds.
Bf16Way bf16_way(const at::Tensor& weight, int64_t tokens, bool exact = false);

/// x weight^T: weight [out, in] bf16, x [tokens, in] f32. Returns [tokens, out] f32. `vector` needs one token and rows
/// of the weight that lie in one piece.
at::Tensor bf16_product(const at::Tensor& weight, const at::Tensor& x, Bf16Way);

}  // namespace headscope
