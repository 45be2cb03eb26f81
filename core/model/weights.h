#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

#include "core/model/linear.h"

namespace headscope {

/// weight [d_model], bias [d_model] or undefined.
struct NormWeights {
  at::Tensor weight, bias;
};

struct MlpWeights {
  Linear gate, up, down;  ///< gate is undefined for plain MLPs
};

struct LayerWeights {
  NormWeights attention_norm, mlp_norm;            ///< mlp_norm is undefined where attention and MLP share one
  NormWeights attention_post_norm, mlp_post_norm;  ///< undefined without norms after attention and MLP
  at::Tensor query_norm, key_norm;  ///< as Weight says; key_norm is undefined in layers that own no cache
  Linear query;                     ///< as Weight says
  Linear key, value;                ///< [kv_heads * dim, d_model], undefined in layers that own no cache
  Linear query_latent, latent;      ///< MLA: as Weight says, with the norms of both
  at::Tensor query_latent_norm, latent_norm;
  at::Tensor latent_key, latent_value;  ///< MLA: [q_heads * dim, latent]
  Linear output;                        ///< [d_model, q_heads * value_dim]
  MlpWeights mlp;                       ///< undefined where there are experts
  at::Tensor router, router_bias;       ///< [experts, d_model], [experts] or undefined
  std::vector<MlpWeights> experts;
  MlpWeights shared;  ///< undefined without shared_width
};

/// All tensors of a model, on the CPU. Matrices are of the model's dtype, f32 or bf16; norms, biases and routers are
/// f32.
struct Weights {
  at::Tensor token_embedding;     ///< [vocab, d_model]
  at::Tensor position_embedding;  ///< [context, d_model] or undefined
  NormWeights final_norm;
  Linear lm_head;
  std::vector<LayerWeights> layers;
};

}  // namespace headscope
