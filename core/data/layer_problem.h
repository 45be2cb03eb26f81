#pragma once

#include <vector>

#include "core/arch/architecture.h"

namespace headscope {

/// What the architecture says of the attention of one layer: heads, dimensions, scale, window, soft cap. The caller
/// adds lengths, the offset, the views of Q, K and V, and the position bias.
AttentionProblem layer_problem(const Architecture&, int64_t layer);

/// What ALiBi adds to the scores of a layer, as kernels take it; nothing for other models.
struct PositionBias {
  std::vector<float> slopes;     ///< [q_heads]; multiplies the key position
  std::vector<float> key_terms;  ///< [q_heads, keys], where the products are rounded and slopes do not say them
  int64_t keys = 0;

  /// Points the problem, whose first head is `first_head` and whose kv_len is `keys`, at it. Must outlive the call.
  void add_to(AttentionProblem&, int64_t first_head = 0) const;
  /// What is added to the score of one key.
  double at(int64_t head, int64_t key) const;
};
PositionBias position_bias(const Architecture&, int64_t layer, int64_t keys);

}  // namespace headscope
