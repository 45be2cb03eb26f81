#pragma once

#include <ATen/core/Tensor.h>

#include "core/arch/architecture.h"
#include "core/model/weights.h"

namespace headscope {

/// What a layer makes of its input for attention: one row for each token, f32. Undefined where it makes none.
struct Projections {
  at::Tensor queries;      ///< [tokens, q_heads * key_dim], before rope
  at::Tensor query_heads;  ///< MLA: as mla_query_heads has them
  at::Tensor keys, values;

  Projections of(int64_t first, int64_t count) const;
};

/// Of the layer's normed input x [tokens, d_model], queries alone.
Projections project_queries(const Architecture&, const Weights&, int64_t layer, const at::Tensor& x);
/// The same with what goes to the cache.
Projections project(const Architecture&, const Weights&, int64_t layer, const at::Tensor& x);

/// What attention gives back to the layer [tokens, d_model], of the outputs of its heads [tokens, q_heads, dim]: mixed
/// values, or (`latents`) mixed latents.
at::Tensor project_output(const Architecture&, const Weights&, int64_t layer, const at::Tensor& heads_output,
                          bool latents);

}  // namespace headscope
