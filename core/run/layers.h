#pragma once

#include <ATen/core/Tensor.h>

#include "core/arch/architecture.h"
#include "core/model/weights.h"

namespace headscope {

/// Token-wise parts of a layer. `x` is [tokens, d_model], f32.
at::Tensor apply_norm(const Architecture&, const NormWeights&, const at::Tensor& x);
/// The norm of queries or keys `x` [tokens, heads * key_dim]; `weight` undefined without one.
at::Tensor apply_qk_norm(QkNorm, const at::Tensor& weight, const at::Tensor& x, double epsilon);
/// Over the last dimension.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon);
/// x may be [tokens, anything] in f32, and so is the result. Sums are f32; with bf16 weights, x of more than few_tokens
/// tokens is rounded to bf16 where that is faster (kernels/linear.h).
at::Tensor apply_linear(const Linear&, const at::Tensor& x);
/// The same, with nothing rounded to bf16, whatever that costs.
at::Tensor apply_exact_linear(const Linear&, const at::Tensor& x);
/// One MLP, or one expert.
at::Tensor apply_mlp(const Mlp&, const MlpWeights&, const at::Tensor& x);
/// `positions`: rows of learned position embeddings, one for each token or one for all; undefined where there are none.
at::Tensor embed(const Architecture&, const Weights&, const at::Tensor& ids, const at::Tensor& positions);

/// Logits [tokens, vocab], never rounded to bf16, of final hidden states [tokens, d_model].
at::Tensor compute_logits(const Architecture&, const Weights&, const at::Tensor& x);

}  // namespace headscope
