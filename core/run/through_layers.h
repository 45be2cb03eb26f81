#pragma once

#include <functional>

#include <ATen/core/Tensor.h>

#include "core/arch/architecture.h"
#include "core/model/weights.h"

namespace headscope {

/// What attention of a layer, its output projection included, makes of the normed input x [tokens, d_model].
using LayerAttention = std::function<at::Tensor(int64_t layer, const at::Tensor& x)>;

/// Hidden states [tokens, d_model] behind the last layer, of those before the first: norms, MLPs, mixtures and sums are
/// made here, attention by the caller. `on_layer` is called before each layer.
at::Tensor through_layers(const Architecture&, const Weights&, at::Tensor x, const LayerAttention&,
                          const std::function<void(int64_t layer)>& on_layer);

}  // namespace headscope
