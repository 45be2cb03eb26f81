#pragma once

#include <ATen/core/Tensor.h>

#include "core/arch/architecture.h"
#include "core/model/weights.h"

namespace headscope {

/// The parts of multi-head latent attention in both its forms (MlaForm, kv-variants.md 3.7).
/// Rope is the caller's, on the dimensions of queries and rows from KvStore::rope_offset on. All f32.

/// Queries of every head before they are absorbed, [tokens, q_heads, content + rope key], of x [tokens, d_model].
at::Tensor mla_query_heads(const Layer&, const KvStore&, const LayerWeights&, const at::Tensor& x);

/// Queries [tokens, q_heads * key_dim] that score rows of the cache.
at::Tensor mla_absorbed(const Layer&, const KvStore&, const LayerWeights&, const at::Tensor& query_heads);

/// Rows [tokens, key_dim] of the cache: the latent after its norm, and the rope key.
at::Tensor mla_rows(const Mla&, const KvStore&, const LayerWeights&, const at::Tensor& x);

/// Queries [tokens, q_heads, content + rope key] that score expanded keys: the contents of query_heads, and the rope
/// parts of absorbed queries [tokens, q_heads * key_dim] that rope has turned.
at::Tensor mla_expanded_queries(const Layer&, const KvStore&, const at::Tensor& query_heads, const at::Tensor& turned);

/// Keys [tokens, heads, content + rope key] and values [tokens, heads, Mla::value_dim] of the heads from `first_head`
/// on, of rows of the cache.
struct MlaExpanded {
  at::Tensor keys, values;
};
MlaExpanded mla_expanded(const Layer&, const KvStore&, const LayerWeights&, const at::Tensor& rows, int64_t first_head,
                         int64_t heads);

/// Values [tokens, q_heads * Mla::value_dim] of mixed latents [tokens, q_heads, latent].
at::Tensor mla_values(const Layer&, const LayerWeights&, const at::Tensor& mixed);

}  // namespace headscope
