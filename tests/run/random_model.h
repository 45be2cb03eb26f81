#pragma once

#include <memory>
#include <vector>

#include "core/model/model.h"

namespace headscope {

/// A small llama-like architecture with every size different from every other, for tests that change one field.
Architecture small_architecture();

/// The GPT-2-like twin: learned positions, LayerNorm with biases, plain MLP.
Architecture small_gpt2_architecture();

/// A twin with multi-head latent attention; layer 2 reads the latents of layer 1 through matrices of its own.
Architecture small_latent_architecture();

/// Random weights that fit the architecture, the same for the same seed.
std::shared_ptr<const Model> random_model(const Architecture&, uint64_t seed = 1,
                                          std::shared_ptr<const Device> = host());

std::vector<int32_t> random_ids(const Architecture&, int64_t count, uint64_t seed = 1);

}  // namespace headscope
