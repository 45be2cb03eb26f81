#pragma once

#include <cstddef>

#include "kernels/attention.h"
#include "kernels/parallel.h"

namespace headscope::reference {

// The definition of a score, for all operations of the reference. Double precision.

struct Query {
  int64_t batch, head, row;
};

/// Workspace sizes are multiples of 64.
inline size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

inline int64_t position_of(const AttentionProblem& p, int64_t row) { return row + p.causal_offset; }
inline int64_t kv_head_of(const AttentionProblem& p, int64_t q_head) { return q_head / (p.q_heads / p.kv_heads); }

/// Place of a query row in [batch, q_heads, q_len].
inline int64_t flat(const AttentionProblem& p, const Query& query) {
  return (query.batch * p.q_heads + query.head) * p.q_len + query.row;
}

bool is_visible(const AttentionProblem&, const Query&, int64_t key);

/// Score of a visible key; `keys` as `keys_of` gives them.
double score(const AttentionProblem&, const InputRows& keys, const Query&, int64_t key);

/// Bytes that `keys_of` needs: none unless keys are rotated.
size_t rotated_keys_bytes(const AttentionProblem&);

/// The stored keys, or rotated copies in `storage` [batch, kv_heads, kv_len - first_key, key_dim].
InputRows keys_of(const AttentionProblem&, std::byte* storage, const ParallelFor&);

}  // namespace headscope::reference
