#pragma once

#include <vector>

#include "kernels/attention.h"

namespace headscope::testing {

/// The keys as a problem's rotation leaves them, computed in Real: [batch, kv_heads, kv_len - first_key, key_dim].
template <class Real>
std::vector<float> rotated_keys(const AttentionProblem& problem);

/// The same problem with keys [batch, kv_heads, kv_len - first_key, key_dim] that are read as they are.
AttentionProblem with_keys(const AttentionProblem& problem, const std::vector<float>& keys);

}  // namespace headscope::testing
