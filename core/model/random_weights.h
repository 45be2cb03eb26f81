#pragma once

#include <memory>
#include <string>

#include "core/model/model.h"

namespace headscope {

/// A model of this architecture with random weights, the same for the same seed: for measuring sizes and speeds, which
/// do not depend on the weights. Matrices are normal with a deviation of 1 / sqrt(in), held as `dtype` (f32 or bf16);
/// norms are 1, biases 0. Weights lie on the device. Throws Error for an architecture that cannot run, std::bad_alloc.
std::shared_ptr<const Model> random_weights(std::string name, Architecture, DType dtype, uint64_t seed = 0,
                                            const Progress& = {}, std::shared_ptr<const Device> = host());

}  // namespace headscope
