#pragma once

#include <map>
#include <tuple>

#include "core/arch/family.h"
#include "core/model/weights.h"

namespace headscope {

/// Weights by layer (-1: outside the layers), name and expert.
using WeightMap = std::map<std::tuple<int64_t, Weight, int64_t>, at::Tensor>;

/// The same weights in their places, with who multiplies them; those that are not in the map stay undefined, and an
/// lm_head that is not is the token embedding (tied).
Weights arrange(const WeightMap&, const Architecture&, LinearMethod);

}  // namespace headscope
