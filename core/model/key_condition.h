#pragma once

#include <optional>
#include <vector>

#include "core/base/progress.h"
#include "core/model/description.h"
#include "core/model/model.h"

namespace headscope {

struct KeyCondition {
  int64_t layer = 0;  ///< an owning layer that stores keys alone
  /// Largest by smallest singular value; infinite for a singular matrix or one that is not finite.
  double condition = 0;
};

/// Condition numbers of W_K, in double, of the layers whose values are made from stored keys (slim attention:
/// W_KV = W_K^-1 W_V, kv-variants.md 2): by so much may the rounding of a key grow in its value. Empty for other
/// models.
std::vector<KeyCondition> key_conditions(const Model&, const Progress& = {});

/// The same of a checkpoint, of which nothing but these matrices is read. Nothing where that would take more than a
/// moment (widths cubed add up to more than 2^30), or where a file holds them in a fused tensor.
std::optional<std::vector<KeyCondition>> key_conditions(Checkpoint&, const ModelDescription&, const Progress& = {});

}  // namespace headscope
