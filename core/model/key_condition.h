#pragma once

#include <vector>

#include "core/base/progress.h"
#include "core/model/model.h"

namespace headscope {

struct KeyCondition {
  int64_t layer = 0;  ///< an owning layer that stores keys alone
  double condition =
      0;  ///< largest by smallest singular value; infinite for a singular matrix or one that is not finite
};

/// Condition numbers of W_K, in double, of the layers whose values are made from stored keys (slim attention:
/// W_KV = W_K^-1 W_V, kv-variants.md 2): by so much may the rounding of a key grow in its value. Empty for other
/// models.
std::vector<KeyCondition> key_conditions(const Model&, const Progress& = {});

}  // namespace headscope
