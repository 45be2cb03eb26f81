#include "core/run/projections.h"

#include <ATen/ATen.h>

#include "core/run/layers.h"
#include "core/run/mla.h"

namespace headscope {

Projections Projections::of(int64_t first, int64_t count) const {
  const auto part = [&](const at::Tensor& all) { return all.defined() ? all.narrow(0, first, count) : all; };
  return {part(queries), part(query_heads), part(keys), part(values)};
}

namespace {

/// What a matrix makes of x, behind the layer's norm of queries and keys.
at::Tensor normed(const Architecture& architecture, int64_t layer, const at::Tensor& norm, const Linear& linear,
                  const at::Tensor& x) {
  const QkNorm kind = architecture.layers[static_cast<size_t>(layer)].qk_norm;
  return apply_qk_norm(kind, norm, apply_linear(linear, x), architecture.norm_epsilon).contiguous();
}

}  // namespace

Projections project_queries(const Architecture& architecture, const Weights& model, int64_t layer,
                            const at::Tensor& x) {
  const Layer& settings = architecture.layers[static_cast<size_t>(layer)];
  const LayerWeights& weights = model.layers[static_cast<size_t>(layer)];
  const KvStore& shape = architecture.store_of(layer);
  Projections made;
  if (settings.mla) {
    made.query_heads = mla_query_heads(settings, shape, weights, x);
    made.queries = mla_absorbed(settings, shape, weights, made.query_heads).contiguous();
  } else {
    made.queries = normed(architecture, layer, weights.query_norm, weights.query, x);
  }
  return made;
}

Projections project(const Architecture& architecture, const Weights& model, int64_t layer, const at::Tensor& x) {
  const Layer& settings = architecture.layers[static_cast<size_t>(layer)];
  const LayerWeights& weights = model.layers[static_cast<size_t>(layer)];
  const KvStore& shape = architecture.store_of(layer);
  Projections made = project_queries(architecture, model, layer, x);
  if (!architecture.owns_cache(layer)) return made;
  if (shape.stored == Stored::latent) {
    made.keys = mla_rows(*settings.mla, shape, weights, x).contiguous();
    return made;
  }
  if (shape.stored != Stored::values_only) {
    made.keys = normed(architecture, layer, weights.key_norm, weights.key, x);
  }
  if (shape.stored != Stored::keys_only) made.values = apply_linear(weights.value, x).contiguous();
  return made;
}

at::Tensor project_output(const Architecture& architecture, const Weights& model, int64_t layer,
                          const at::Tensor& heads_output, bool latents) {
  const Layer& settings = architecture.layers[static_cast<size_t>(layer)];
  const LayerWeights& weights = model.layers[static_cast<size_t>(layer)];
  return apply_linear(weights.output, latents ? mla_values(settings, weights, heads_output) : heads_output.flatten(1));
}

}  // namespace headscope
