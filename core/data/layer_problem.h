#pragma once

#include <vector>

#include "core/arch/architecture.h"

namespace headscope {

/// What the architecture says of the attention of one layer: heads, dimensions, scale, window, soft cap. The caller
/// adds lengths, the offset, the views of Q, K and V, and the position bias.
AttentionProblem layer_problem(const Architecture&, int64_t layer);

/// What ALiBi adds to the score of one key; 0 for other models.
double position_score(const Architecture&, int64_t head, int64_t key);

/// The same for some heads, as kernels take it; nothing for other models.
struct PositionBias {
  std::vector<float> slopes;     ///< [heads]; multiplies the key position
  std::vector<float> key_terms;  ///< [heads, keys], where the products are rounded and slopes do not say them

  /// Points the problem, whose heads these are and whose kv_len is `keys`, at it. Must outlive the call.
  void add_to(AttentionProblem&) const;
};
PositionBias position_bias(const Architecture&, int64_t first_head, int64_t heads, int64_t keys);

}  // namespace headscope
