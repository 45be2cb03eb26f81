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

/// x [tokens, in] in f32 through a linear layer: [tokens, out] in f32. `exact`: x is not rounded to bf16, whatever the
/// weights are. On the CPU by our kernels with LibTorch's threads, on a GPU by LibTorch.
at::Tensor own_product(const Linear&, const at::Tensor& x, bool exact);
at::Tensor gpu_product(const Linear&, const at::Tensor& x, bool exact);

/// The name of our kernel for so many tokens, where x may be rounded.
std::string_view linear_kernel_name(const Linear&, int64_t tokens);

}  // namespace headscope
