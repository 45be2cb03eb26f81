#pragma once

#include <ATen/core/Tensor.h>

#include "core/arch/architecture.h"
#include "core/model/weights.h"

namespace headscope {

/// Multi-head latent attention in its absorbed form (kv-variants.md 3.7): W_UK goes into the query and W_UV behind the
/// mixed latents, so that attention is that of many query heads over one KV head, whose rows are what the cache holds.
/// Rope is the caller's, on the dimensions from KvStore::rope_offset on. All f32.

/// Queries [tokens, q_heads * key_dim] of x [tokens, d_model].
at::Tensor mla_queries(const Layer&, const KvStore&, const LayerWeights&, const at::Tensor& x);

/// Rows [tokens, key_dim] of the cache: the latent after its norm, and the rope key.
at::Tensor mla_rows(const Mla&, const KvStore&, const LayerWeights&, const at::Tensor& x);

/// Values [tokens, q_heads * Mla::value_dim] of mixed latents [tokens, q_heads, latent].
at::Tensor mla_values(const Layer&, const LayerWeights&, const at::Tensor& mixed);

}  // namespace headscope
