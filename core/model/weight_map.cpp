#include "core/model/weight_map.h"

namespace headscope {
namespace {

/// The weights of one layer, or of none (-1).
class LayerPicker {
 public:
  LayerPicker(const WeightMap& map, LinearMethod method, int64_t layer) : map_(map), method_(method), layer_(layer) {}

  /// Undefined when the model has none.
  at::Tensor get(Weight weight, int64_t expert = 0) const {
    const auto found = map_.find({layer_, weight, expert});
    return found == map_.end() ? at::Tensor() : found->second;
  }
  Linear linear(Weight weight, Weight bias) const { return {get(weight), get(bias), method_}; }
  NormWeights norm(Weight weight, Weight bias) const { return {get(weight), get(bias)}; }
  MlpWeights expert(int64_t index) const {
    return {{get(Weight::expert_gate, index), {}, method_},
            {get(Weight::expert_up, index), {}, method_},
            {get(Weight::expert_down, index), {}, method_}};
  }
  /// What every token passes beside its experts.
  MlpWeights shared() const {
    return {{get(Weight::shared_gate), {}, method_},
            {get(Weight::shared_up), {}, method_},
            {get(Weight::shared_down), {}, method_}};
  }

 private:
  const WeightMap& map_;
  LinearMethod method_;
  int64_t layer_;
};

LayerWeights arrange_layer(const LayerPicker& pick, const Mlp& mlp) {
  LayerWeights weights{
      .attention_norm = pick.norm(Weight::attention_norm, Weight::attention_norm_bias),
      .mlp_norm = pick.norm(Weight::mlp_norm, Weight::mlp_norm_bias),
      .attention_post_norm = {pick.get(Weight::attention_post_norm), {}},
      .mlp_post_norm = {pick.get(Weight::mlp_post_norm), {}},
      .query_norm = pick.get(Weight::query_norm),
      .key_norm = pick.get(Weight::key_norm),
      .query = pick.linear(Weight::query, Weight::query_bias),
      .key = pick.linear(Weight::key, Weight::key_bias),
      .value = pick.linear(Weight::value, Weight::value_bias),
      .query_latent = pick.linear(Weight::query_latent, Weight::query_latent_bias),
      .latent = pick.linear(Weight::latent, Weight::latent_bias),
      .query_latent_norm = pick.get(Weight::query_latent_norm),
      .latent_norm = pick.get(Weight::latent_norm),
      .latent_key = pick.get(Weight::latent_key),
      .latent_value = pick.get(Weight::latent_value),
      .output = pick.linear(Weight::attention_output, Weight::attention_output_bias),
      .mlp = {pick.linear(Weight::mlp_gate, Weight::mlp_gate_bias), pick.linear(Weight::mlp_up, Weight::mlp_up_bias),
              pick.linear(Weight::mlp_down, Weight::mlp_down_bias)},
      .router = pick.get(Weight::router),
      .router_bias = pick.get(Weight::router_bias),
      .experts = {},
      .shared = pick.shared(),
  };
  for (int64_t index = 0; mlp.experts > 1 && index < mlp.experts; ++index) {
    weights.experts.push_back(pick.expert(index));
  }
  return weights;
}

}  // namespace

Weights arrange(const WeightMap& map, const Architecture& architecture, LinearMethod method) {
  const LayerPicker outside(map, method, -1);
  Weights weights;
  weights.token_embedding = outside.get(Weight::token_embedding);
  weights.position_embedding = outside.get(Weight::position_embedding);
  weights.final_norm = outside.norm(Weight::final_norm, Weight::final_norm_bias);
  weights.lm_head = outside.linear(Weight::lm_head, Weight::lm_head_bias);
  if (!weights.lm_head.weight.defined()) weights.lm_head.weight = weights.token_embedding;
  for (int64_t layer = 0; layer < architecture.layer_count(); ++layer) {
    weights.layers.push_back(
        arrange_layer(LayerPicker(map, method, layer), architecture.layers[static_cast<size_t>(layer)].mlp));
  }
  return weights;
}

}  // namespace headscope
