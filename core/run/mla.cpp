#include "core/run/mla.h"

#include <ATen/ATen.h>

#include "core/run/layers.h"

namespace headscope {
namespace {

/// rows [tokens, heads, in] times one matrix [in, out] for each head: [tokens, heads, out]. bf16 is widened.
at::Tensor multiply_by_head(const at::Tensor& rows, const at::Tensor& matrices) {
  return at::matmul(rows.transpose(0, 1), matrices.to(at::kFloat)).transpose(0, 1);
}

}  // namespace

at::Tensor mla_queries(const Layer& layer, const KvStore& store, const LayerWeights& weights, const at::Tensor& x) {
  const Mla& mla = *layer.mla;
  at::Tensor input = x;
  if (mla.query_rank > 0) {
    input = rms_norm(apply_linear(weights.query_latent, x), weights.query_latent_norm, mla.norm_epsilon);
  }
  const int64_t rope_key = store.key_dim - store.value_dim;
  const at::Tensor heads =
      apply_linear(weights.query, input).view({x.size(0), layer.q_heads, mla.content_dim + rope_key});
  const at::Tensor to_latent = weights.latent_key.view({layer.q_heads, mla.content_dim, store.value_dim});
  const at::Tensor content = multiply_by_head(heads.narrow(2, 0, mla.content_dim), to_latent);
  return at::cat({content, heads.narrow(2, mla.content_dim, rope_key)}, 2).flatten(1);
}

at::Tensor mla_rows(const Mla& mla, const KvStore& store, const LayerWeights& weights, const at::Tensor& x) {
  const at::Tensor rows = apply_linear(weights.latent, x);
  const at::Tensor latent = rms_norm(rows.narrow(1, 0, store.value_dim), weights.latent_norm, mla.norm_epsilon);
  return at::cat({latent, rows.narrow(1, store.value_dim, store.key_dim - store.value_dim)}, 1);
}

at::Tensor mla_values(const Layer& layer, const LayerWeights& weights, const at::Tensor& mixed) {
  const at::Tensor from_latent =
      weights.latent_value.view({layer.q_heads, layer.mla->value_dim, mixed.size(2)}).transpose(1, 2);
  return multiply_by_head(mixed, from_latent).reshape({mixed.size(0), layer.q_heads * layer.mla->value_dim});
}

}  // namespace headscope
