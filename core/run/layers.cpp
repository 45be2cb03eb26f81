#include "core/run/layers.h"

#include <cmath>

#include <ATen/ATen.h>

#include "core/base/error.h"
#include "kernels/linear.h"

namespace headscope {
namespace {

at::Tensor activate(Activation activation, const at::Tensor& x) {
  switch (activation) {
    case Activation::gelu:
      return at::gelu(x);
    case Activation::gelu_tanh:
      return at::gelu(x, "tanh");
    case Activation::silu:
      return at::silu(x);
    case Activation::relu:
      return at::relu(x);
  }
  throw std::logic_error("activate: unknown activation");
}

/// `exact`: x is not rounded to bf16, whatever that costs.
at::Tensor linear_product(const Linear& linear, const at::Tensor& x, bool exact) {
  if (!linear.weight.is_cpu()) return gpu_product(linear, x, exact);
  const bool library = linear.method == LinearMethod::libtorch && linear.weight.scalar_type() == at::kFloat;
  if (library && x.size(0) > few_tokens) return at::linear(x, linear.weight, linear.bias);
  return own_product(linear, x, exact);
}

at::Tensor soft_cap(const at::Tensor& x, double cap) { return cap > 0 ? cap * at::tanh(x / cap) : x; }

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon) {
  return x * at::rsqrt(x.pow(2).mean(-1, true) + epsilon) * weight;
}

at::Tensor apply_norm(const Architecture& architecture, const NormWeights& norm, const at::Tensor& x) {
  if (architecture.norm == Norm::layer_norm) {
    return at::layer_norm(x, {architecture.d_model}, norm.weight, norm.bias, architecture.norm_epsilon);
  }
  return rms_norm(x, norm.weight, architecture.norm_epsilon);
}

at::Tensor apply_qk_norm(QkNorm kind, const at::Tensor& weight, const at::Tensor& x, double epsilon) {
  if (kind == QkNorm::none) return x;
  if (kind == QkNorm::whole) return rms_norm(x, weight, epsilon);
  return rms_norm(x.view({x.size(0), -1, weight.size(0)}), weight, epsilon).view(x.sizes());
}

at::Tensor apply_linear(const Linear& linear, const at::Tensor& x) { return linear_product(linear, x, false); }

at::Tensor apply_exact_linear(const Linear& linear, const at::Tensor& x) { return linear_product(linear, x, true); }

namespace {

at::Tensor mlp_of_few(const Mlp& mlp, const MlpWeights& weights, const at::Tensor& x) {
  at::Tensor inner = apply_linear(weights.up, x);
  if (mlp.gated) {
    inner.mul_(activate(mlp.activation, apply_linear(weights.gate, x)));
  } else {
    inner = activate(mlp.activation, inner);
  }
  return apply_linear(weights.down, inner);
}

}  // namespace

at::Tensor apply_mlp(const Mlp& mlp, const MlpWeights& weights, const at::Tensor& x) {
  // The inner rows are the widest of all; so many tokens at once lose no speed. Parts are equal, so that none is of few
  // tokens, which linear layers sum in another order.
  constexpr int64_t most = 1024;
  const int64_t tokens = x.size(0), parts = (tokens + most - 1) / most;
  if (parts <= 1) return mlp_of_few(mlp, weights, x);
  at::Tensor out = at::empty_like(x);
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t first = tokens * part / parts, count = tokens * (part + 1) / parts - first;
    out.narrow(0, first, count).copy_(mlp_of_few(mlp, weights, x.narrow(0, first, count)));
  }
  return out;
}

at::Tensor embed(const Architecture& architecture, const Weights& weights, const at::Tensor& ids,
                 const at::Tensor& positions) {
  at::Tensor x = at::embedding(weights.token_embedding, ids).to(at::kFloat);
  if (architecture.embedding_scale != 1) x = x * architecture.embedding_scale;
  return positions.defined() ? x + positions : x;
}

at::Tensor compute_logits(const Architecture& architecture, const Weights& weights, const at::Tensor& x) {
  const at::Tensor normed = apply_norm(architecture, weights.final_norm, x);
  // Logits rounded to bf16 would make ties among the likeliest tokens.
  return soft_cap(apply_exact_linear(weights.lm_head, normed), architecture.logits_soft_cap);
}

}  // namespace headscope
