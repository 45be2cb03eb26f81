#include "kernels/reference/scores.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace headscope::reference {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

int64_t keys_present(const AttentionProblem& p) { return p.kv_len - p.first_key; }

/// K = rotate(V)
void rotate_row(const KeyFromValue& rotation, const float* value, int64_t position, int64_t key_dim, float* key) {
  std::copy_n(value, key_dim, key);
  const int64_t half = rotation.dims / 2;
  for (int64_t j = 0; j < half; ++j) {
    const double theta = std::pow(rotation.base, -2.0 * static_cast<double>(j) / static_cast<double>(rotation.dims));
    const double angle = static_cast<double>(position) * theta;
    const bool interleaved = rotation.style == RotationStyle::interleaved;
    const int64_t a = interleaved ? 2 * j : j;
    const int64_t b = interleaved ? 2 * j + 1 : j + half;
    const double x = value[a], y = value[b];
    key[a] = static_cast<float>(x * std::cos(angle) - y * std::sin(angle));
    key[b] = static_cast<float>(y * std::cos(angle) + x * std::sin(angle));
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
  if (!p.key_from_value.enabled) return 0;
  return aligned(static_cast<size_t>(p.batch * p.kv_heads * keys_present(p) * p.key_dim) * sizeof(float));
}

InputRows keys_of(const AttentionProblem& p, std::byte* storage, const ParallelFor& parallel) {
  if (!p.key_from_value.enabled) return p.k;
  auto* keys = reinterpret_cast<float*>(storage);
  const int64_t head_size = keys_present(p) * p.key_dim;
  const Rows<float> rotated{keys, p.kv_heads * head_size, head_size, p.key_dim};
  parallel.run(p.batch * p.kv_heads, [&](int64_t task, int) {
    const int64_t batch = task / p.kv_heads, head = task % p.kv_heads;
    for (int64_t row = 0; row < keys_present(p); ++row) {
      rotate_row(p.key_from_value, p.v.row(batch, head, row), p.first_key + row, p.key_dim,
                 rotated.row(batch, head, row));
    }
  });
  return {keys, rotated.batch_stride, rotated.head_stride, rotated.row_stride};
}

}  // namespace headscope::reference
