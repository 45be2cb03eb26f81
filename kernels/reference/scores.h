#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/attention.h"
#include "kernels/parallel.h"

namespace headscope::reference {

/// One query row of a problem.
struct Query {
  int64_t batch, head, row;
};

inline size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

inline int64_t kv_head_of(const AttentionProblem& p, int64_t q_head) { return q_head / (p.q_heads / p.kv_heads); }
inline int64_t position_of(const AttentionProblem& p, int64_t row) { return row + p.causal_offset; }

/// Where a row is in arrays [batch, q_heads, q_len].
inline int64_t flat(const AttentionProblem& p, const Query& query) {
  return (query.batch * p.q_heads + query.head) * p.q_len + query.row;
}

bool is_visible(const AttentionProblem&, const Query&, int64_t key);

/// The definition of a score, in double. `keys` is what keys_of gave.
double score(const AttentionProblem&, const Rows<const float>& keys, const Query&, int64_t key);

/// exp(score - row_max - log_sum), the weight of a visible key when the row's log-sum-exp is known.
double known_weight(const AttentionProblem&, const Rows<const float>& keys, const float* row_max, const float* log_sum,
                    const Query&, int64_t key);

/// Bytes that keys_of needs for K made from V; 0 when K is stored.
size_t rotated_keys_bytes(const AttentionProblem&);

/// The stored keys, or those made from V into `storage` [batch, kv_heads, kv_len - first_key, key_dim].
Rows<const float> keys_of(const AttentionProblem&, std::byte* storage, const ParallelFor&);

}  // namespace headscope::reference
