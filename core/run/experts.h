#pragma once

#include <ATen/core/Tensor.h>

#include "core/arch/architecture.h"
#include "core/model/weights.h"

namespace headscope {

/// The experts of each token and what they count: both [tokens, experts_active], int64 and f32.
struct ChosenExperts {
  at::Tensor index, weight;
};

/// As Router says; x is [tokens, d_model], f32. Equal scores: either one.
ChosenExperts choose_experts(const Mlp&, const LayerWeights&, const at::Tensor& x);

/// The mixture: each token's experts, weighted, and what every token passes. Experts are added in their order, so that
/// in f32 a token's result depends on the tokens beside it by rounding alone; in bf16 an expert of few tokens does not
/// round them and one of many does (kernels/linear.h).
at::Tensor apply_experts(const Mlp&, const LayerWeights&, const at::Tensor& x);

}  // namespace headscope
