#include "core/arch/family.h"

namespace headscope {

std::string_view weight_name(Weight weight) {
  switch (weight) {
    case Weight::token_embedding:
      return "token_embedding";
    case Weight::position_embedding:
      return "position_embedding";
    case Weight::final_norm:
      return "final_norm";
    case Weight::final_norm_bias:
      return "final_norm_bias";
    case Weight::lm_head:
      return "lm_head";
    case Weight::lm_head_bias:
      return "lm_head_bias";
    case Weight::attention_norm:
      return "attention_norm";
    case Weight::attention_norm_bias:
      return "attention_norm_bias";
    case Weight::attention_post_norm:
      return "attention_post_norm";
    case Weight::query_norm:
      return "query_norm";
    case Weight::key_norm:
      return "key_norm";
    case Weight::query:
      return "query";
    case Weight::query_bias:
      return "query_bias";
    case Weight::key:
      return "key";
    case Weight::key_bias:
      return "key_bias";
    case Weight::value:
      return "value";
    case Weight::value_bias:
      return "value_bias";
    case Weight::query_latent:
      return "query_latent";
    case Weight::query_latent_bias:
      return "query_latent_bias";
    case Weight::query_latent_norm:
      return "query_latent_norm";
    case Weight::latent:
      return "latent";
    case Weight::latent_bias:
      return "latent_bias";
    case Weight::latent_norm:
      return "latent_norm";
    case Weight::latent_key:
      return "latent_key";
    case Weight::latent_value:
      return "latent_value";
    case Weight::attention_output:
      return "attention_output";
    case Weight::attention_output_bias:
      return "attention_output_bias";
    case Weight::mlp_norm:
      return "mlp_norm";
    case Weight::mlp_norm_bias:
      return "mlp_norm_bias";
    case Weight::mlp_post_norm:
      return "mlp_post_norm";
    case Weight::mlp_gate:
      return "mlp_gate";
    case Weight::mlp_gate_bias:
      return "mlp_gate_bias";
    case Weight::mlp_up:
      return "mlp_up";
    case Weight::mlp_up_bias:
      return "mlp_up_bias";
    case Weight::mlp_down:
      return "mlp_down";
    case Weight::mlp_down_bias:
      return "mlp_down_bias";
    case Weight::router:
      return "router";
    case Weight::router_bias:
      return "router_bias";
    case Weight::expert_gate:
      return "expert_gate";
    case Weight::expert_up:
      return "expert_up";
    case Weight::expert_down:
      return "expert_down";
    case Weight::shared_gate:
      return "shared_gate";
    case Weight::shared_up:
      return "shared_up";
    case Weight::shared_down:
      return "shared_down";
  }
  return "unknown";
}

int64_t parameter_count(const TensorSchema& schema) {
  int64_t total = 0;
  for (const TensorWish& wish : schema.wishes) {
    if (wish.optional) continue;
    int64_t elements = 1;
    for (const int64_t size : wish.shape) elements *= size;
    total += elements;
  }
  return total;
}

}  // namespace headscope
