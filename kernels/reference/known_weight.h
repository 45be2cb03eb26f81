#pragma once

#include <cmath>

#include "kernels/reference/scores.h"

namespace headscope::reference {

/// exp(score - row_max - log_sum), the weight of a visible key when the log-sum-exp of its row is known: `row_max` and
/// `log_sum` are [batch, q_heads, q_len].
inline double known_weight(const AttentionProblem& p, const InputRows& keys, const float* row_max, const float* log_sum,
                           const Query& query, int64_t key) {
  const int64_t at = flat(p, query);
  return std::exp(score(p, keys, query, key) - double{row_max[at]} - double{log_sum[at]});
}

}  // namespace headscope::reference
