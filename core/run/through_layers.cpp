#include "core/run/through_layers.h"

#include <ATen/ATen.h>

#include "core/run/experts.h"
#include "core/run/layers.h"

namespace headscope {

at::Tensor attention_input(const Architecture& architecture, const Weights& weights, int64_t layer,
                           const at::Tensor& x) {
  const auto index = static_cast<size_t>(layer);
  if (!architecture.layers[index].norm_before) return x;
  return apply_norm(architecture, weights.layers[index].attention_norm, x);
}

at::Tensor through_layers(const Architecture& architecture, const Weights& weights, int64_t first, int64_t end,
                          at::Tensor x, const LayerAttention& attention, const BeforeLayer& before_layer) {
  for (int64_t index = first; index < end; ++index) {
    before_layer(index, x);
    const Layer& layer = architecture.layers[static_cast<size_t>(index)];
    const LayerWeights& w = weights.layers[static_cast<size_t>(index)];
    const auto before = [&](const NormWeights& norm) {
      return layer.norm_before ? apply_norm(architecture, norm, x) : x;
    };
    const auto mlp = [&](const at::Tensor& y) {
      return layer.mlp.experts > 1 ? apply_experts(layer.mlp, w, y) : apply_mlp(layer.mlp, w.mlp, y);
    };
    const auto after = [&](const NormWeights& norm, const at::Tensor& y) {
      return layer.norm_after ? apply_norm(architecture, norm, y) : y;
    };
    const at::Tensor normed = attention_input(architecture, weights, index, x);
    const at::Tensor attended = after(w.attention_post_norm, attention(index, normed));
    if (layer.residual == Residual::parallel) {
      const at::Tensor input = layer.shared_input_norm ? normed : before(w.mlp_norm);
      x = x + attended + after(w.mlp_post_norm, mlp(input));
    } else {
      x = x + attended;
      x = x + after(w.mlp_post_norm, mlp(before(w.mlp_norm)));
    }
  }
  return x;
}

}  // namespace headscope
