#pragma once

#include <string_view>

#include <ATen/core/Tensor.h>

#include "core/model/linear_method.h"

namespace headscope {

/// y = x weight^T + bias; weight [out, in] (possibly a narrowed view of a file's tensor), bias [out] or undefined.
struct Linear {
  at::Tensor weight, bias;
  LinearMethod method = LinearMethod::own;
};

/// x [tokens, in] in f32 through a linear layer, by our kernels with LibTorch's threads: [tokens, out] in f32. `exact`:
/// x is not rounded to bf16, whatever the weights are.
at::Tensor own_product(const Linear&, const at::Tensor& x, bool exact);

/// The name of our kernel for many tokens.
std::string_view linear_kernel_name(const Linear&);

/// Our kernels, unless LibTorch is faster here by more than a tenth, so that the choice does not change from one
/// process to the next where both are about as fast. Both multiply 256 tokens with a matrix of 768 x 768 in turn, four
/// times; the minimums count. Where they are about a tenth apart, two processes may choose differently and then differ
/// by rounding; a run tells what it took, and --linear fixes it. The calling thread should have the threads that it
/// will compute with.
LinearMethod measured_linear_method();

}  // namespace headscope
