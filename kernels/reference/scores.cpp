#include "kernels/reference/scores.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace headscope::reference {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

int64_t keys_present(const AttentionProblem& p) { return p.kv_len - p.first_key; }

/// Rotates one key in place.
void rotate_row(const KeyRotation& rotation, int64_t position, float* key) {
  for (int64_t pair = 0; pair < rotation.pairs; ++pair) {
    const int64_t a = rotation.dim_of(pair), b = a + rotation.partner();
    const double cosine = rotation.cosines[pair * rotation.stride + position];
    const double sine = rotation.sines[pair * rotation.stride + position];
    const double x = key[a], y = key[b];
    key[a] = static_cast<float>(x * cosine - y * sine);
    key[b] = static_cast<float>(y * cosine + x * sine);
  }
}

}  // namespace

bool is_visible(const AttentionProblem& p, const Query& query, int64_t key) {
  const int64_t position = position_of(p, query.row);
  if (key < p.first_key) return false;
  if (p.causal && key > position) return false;
  if (p.window != 0 && key <= position - p.window) return false;
  return !p.key_log_weight || p.key_log_weight[query.head * p.kv_len + key] != -infinity;
}

double score(const AttentionProblem& p, const InputRows& keys, const Query& query, int64_t key) {
  const int64_t kv_head = kv_head_of(p, query.head), row = key - p.first_key;
  double s = 0;
  for (int64_t d = 0; d < p.key_dim; ++d) {
    s += double{p.q.at(query.batch, query.head, query.row, d)} * double{keys.at(query.batch, kv_head, row, d)};
  }
  s *= p.scale;
  if (p.soft_cap > 0) s = p.soft_cap * std::tanh(s / p.soft_cap);
  if (p.alibi_slopes) s += double{p.alibi_slopes[query.head]} * static_cast<double>(key);
  if (p.key_log_weight) s += p.key_log_weight[query.head * p.kv_len + key];
  return s;
}

size_t rotated_keys_bytes(const AttentionProblem& p) {
  if (!p.key_rotation.cosines) return 0;
  return aligned(static_cast<size_t>(p.batch * p.kv_heads * keys_present(p) * p.key_dim) * sizeof(float));
}

InputRows keys_of(const AttentionProblem& p, std::byte* storage, const ParallelFor& parallel) {
  if (!p.key_rotation.cosines) return p.k;
  auto* keys = reinterpret_cast<float*>(storage);
  const int64_t head_size = keys_present(p) * p.key_dim;
  const Rows<float> rotated{keys, p.kv_heads * head_size, head_size, p.key_dim};
  parallel.run(p.batch * p.kv_heads, [&](int64_t task, int) {
    const int64_t batch = task / p.kv_heads, head = task % p.kv_heads;
    for (int64_t row = 0; row < keys_present(p); ++row) {
      float* key = rotated.row(batch, head, row);
      for (int64_t d = 0; d < p.key_dim; ++d) key[d] = p.k.at(batch, head, row, d);
      rotate_row(p.key_rotation, p.first_key + row, key);
    }
  });
  return {keys, rotated.batch_stride, rotated.head_stride, rotated.row_stride};
}

}  // namespace headscope::reference
