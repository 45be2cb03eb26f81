#pragma once

#include <functional>

#include <ATen/core/Tensor.h>

#include "core/arch/architecture.h"
#include "core/model/weights.h"

namespace headscope {

/// What attention of a layer, its output projection included, makes of the normed input x [tokens, d_model].
using LayerAttention = std::function<at::Tensor(int64_t layer, const at::Tensor& x)>;

/// Called before each layer with its input x [tokens, d_model], f32, one row after the other.
using BeforeLayer = std::function<void(int64_t layer, const at::Tensor& x)>;

/// Hidden states [tokens, d_model] before layer `end`, of those before layer `first`: norms, MLPs, mixtures and sums
/// are made here, attention by the caller.
at::Tensor through_layers(const Architecture&, const Weights&, int64_t first, int64_t end, at::Tensor x,
                          const LayerAttention&, const BeforeLayer&);

/// What attention of a layer is made of: the layer's input, behind its norm.
at::Tensor attention_input(const Architecture&, const Weights&, int64_t layer, const at::Tensor& x);

}  // namespace headscope
