#include "core/run/mla.h"

#include <ATen/ATen.h>

#include "core/run/layers.h"

namespace headscope {
namespace {

/// rows [tokens, heads, in] times one matrix [in, out] for each head: [tokens, heads, out]. bf16 is widened. These many
/// small products are LibTorch's.
at::Tensor multiply_by_head(const at::Tensor& rows, const at::Tensor& matrices) {
  return at::matmul(rows.transpose(0, 1), matrices.to(at::kFloat)).transpose(0, 1);
}

}  // namespace

at::Tensor mla_query_heads(const Layer& layer, const KvStore& store, const LayerWeights& weights, const at::Tensor& x) {
  const Mla& mla = *layer.mla;
  at::Tensor input = x;
  if (mla.query_rank > 0) {
    input = rms_norm(apply_linear(weights.query_latent, x), weights.query_latent_norm, mla.norm_epsilon);
  }
  return apply_linear(weights.query, input).view({x.size(0), layer.q_heads, mla.content_dim + store.rope_key()});
}

at::Tensor mla_absorbed(const Layer& layer, const KvStore& store, const LayerWeights& weights,
                        const at::Tensor& query_heads) {
  const int64_t content_dim = layer.mla->content_dim;
  const at::Tensor to_latent = weights.latent_key.view({layer.q_heads, content_dim, store.value_dim});
  const at::Tensor content = multiply_by_head(query_heads.narrow(2, 0, content_dim), to_latent);
  return at::cat({content, query_heads.narrow(2, content_dim, store.rope_key())}, 2).flatten(1);
}

at::Tensor mla_rows(const Mla& mla, const KvStore& store, const LayerWeights& weights, const at::Tensor& x) {
  const at::Tensor rows = apply_linear(weights.latent, x);
  const at::Tensor latent = rms_norm(rows.narrow(1, 0, store.value_dim), weights.latent_norm, mla.norm_epsilon);
  return at::cat({latent, rows.narrow(1, store.value_dim, store.rope_key())}, 1);
}

at::Tensor mla_expanded_queries(const Layer& layer, const KvStore& store, const at::Tensor& query_heads,
                                const at::Tensor& turned) {
  const at::Tensor rope_part = turned.view({turned.size(0), layer.q_heads, store.key_dim});
  return at::cat(
      {query_heads.narrow(2, 0, layer.mla->content_dim), rope_part.narrow(2, store.value_dim, store.rope_key())}, 2);
}

MlaExpanded mla_expanded(const Layer& layer, const KvStore& store, const LayerWeights& weights, const at::Tensor& rows,
                         int64_t first_head, int64_t heads) {
  const int64_t tokens = rows.size(0);
  const at::Tensor latent = rows.narrow(1, 0, store.value_dim);
  const at::Tensor shared = rows.narrow(1, store.value_dim, store.rope_key()).unsqueeze(1);
  const auto of_heads = [&](const at::Tensor& weight, int64_t dim) {
    const at::Tensor part = weight.narrow(0, first_head * dim, heads * dim);
    return apply_exact_linear({part, {}, weights.output.method}, latent).view({tokens, heads, dim});
  };
  const at::Tensor content = of_heads(weights.latent_key, layer.mla->content_dim);
  const at::Tensor keys = at::cat({content, shared.expand({tokens, heads, store.rope_key()})}, 2);
  return {keys, of_heads(weights.latent_value, layer.mla->value_dim)};
}

at::Tensor mla_values(const Layer& layer, const LayerWeights& weights, const at::Tensor& mixed) {
  const at::Tensor from_latent =
      weights.latent_value.view({layer.q_heads, layer.mla->value_dim, mixed.size(2)}).transpose(1, 2);
  return multiply_by_head(mixed, from_latent).reshape({mixed.size(0), layer.q_heads * layer.mla->value_dim});
}

}  // namespace headscope
