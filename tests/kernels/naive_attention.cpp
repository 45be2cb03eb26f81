#include "tests/kernels/naive_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/kernels/rotated_keys.h"

namespace headscope::testing {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

float scaled_dot(const AttentionProblem& p, const float* q, const float* k, DotOrder order) {
  float s = 0;
  if (order == DotOrder::forward) {
    for (int64_t d = 0; d < p.key_dim; ++d) s += q[d] * k[d];
    return s * p.scale;
  }
  for (int64_t d = p.key_dim; d-- > 0;) s += q[d] * p.scale * k[d];
  return s;
}

/// Scores of one row, -inf where masked.
std::vector<float> naive_scores(const AttentionProblem& p, int64_t b, int64_t h, int64_t i, DotOrder order) {
  std::vector<float> scores(static_cast<size_t>(p.kv_len), -infinity);
  const int64_t position = i + p.causal_offset;
  const int64_t last = p.causal ? std::min(p.kv_len - 1, position) : p.kv_len - 1;
  const int64_t first = p.window > 0 ? std::max<int64_t>(0, position - p.window + 1) : 0;
  const float* q = p.q.row(b, h, i);
  for (int64_t j = first; j <= last; ++j) {
    const float* k = p.k.row(b, h * p.kv_heads / p.q_heads, j);
    float s = scaled_dot(p, q, k, order);
    if (p.soft_cap > 0) s = std::tanh(s / p.soft_cap) * p.soft_cap;
    if (p.alibi_slopes) s += p.alibi_slopes[h] * static_cast<float>(j);
    const float weight = p.key_log_weight ? p.key_log_weight[h * p.kv_len + j] : 0.0F;
    scores[static_cast<size_t>(j)] = weight == -infinity ? -infinity : s + weight;
  }
  return scores;
}

void naive_statistics(const AttentionCase& c, const float* weights, int64_t i, size_t at, Results& r) {
  const int64_t position = i + c.problem.causal_offset;
  float entropy = 0, largest = 0, distance = 0, variance = 0, sink = 0, window = 0;
  int32_t argmax = -1;
  for (int64_t j = 0; j < c.problem.kv_len; ++j) {
    const float w = weights[j];
    if (w > 0) entropy -= w * std::log(w);
    if (w > largest) largest = w, argmax = static_cast<int32_t>(j);
    distance += w * static_cast<float>(position - j);
    if (j < c.spec.sink_tokens) sink += w;
    if (j <= position && position - j < c.spec.window_tokens) window += w;
  }
  for (int64_t j = 0; j < c.problem.kv_len; ++j) {
    const float off = static_cast<float>(position - j) - distance;
    variance += weights[j] * off * off;
  }
  r.entropy[at] = entropy;
  r.max[at] = largest;
  r.argmax[at] = argmax;
  r.distance[at] = distance;
  r.distance_variance[at] = variance;
  r.sink[at] = sink;
  r.window[at] = window;
}

void naive_thumbnail(const AttentionCase& c, const float* weights, int64_t i, float* map) {
  const int64_t position = i + c.problem.causal_offset, cells = c.spec.cells, bin = c.spec.bin;
  for (int64_t j = 0; j < c.problem.kv_len; ++j) {
    if (position < 0 || position / bin >= cells || j / bin >= cells) continue;
    float& cell = map[position / bin * cells + j / bin];
    cell = std::max(cell, weights[j]);
  }
}

void naive_row(const AttentionCase& c, int64_t b, int64_t h, int64_t i, NaiveOptions options, NaiveAttention& naive) {
  const AttentionProblem& p = c.problem;
  Results& r = naive.results;
  const auto at = static_cast<size_t>((b * p.q_heads + h) * p.q_len + i);
  const std::vector<float> scores = naive_scores(p, b, h, i, options.order);
  const float row_max = *std::max_element(scores.begin(), scores.end());
  if (c.spec.scores_kept) r.scores.insert(r.scores.end(), scores.begin(), scores.end());
  float* weights = naive.map.data() + at * static_cast<size_t>(p.kv_len);
  float* out = r.out.data() + at * static_cast<size_t>(p.value_dim);
  r.row_max[at] = row_max;
  r.argmax[at] = -1;
  if (row_max == -infinity) return;
  float sum = 0;
  for (size_t j = 0; j < scores.size(); ++j) sum += weights[j] = std::exp(scores[j] - row_max);
  for (size_t j = 0; j < scores.size(); ++j) weights[j] /= sum;
  r.log_sum[at] = std::log(sum);
  for (int64_t j = 0; j < p.kv_len; ++j) {
    if (scores[static_cast<size_t>(j)] == -infinity) continue;
    const float* v = p.v.row(b, h * p.kv_heads / p.q_heads, j);
    float weight = weights[j];
    if (options.bf16_weights) weight = from_bf16(to_bf16(std::exp(scores[static_cast<size_t>(j)] - row_max))) / sum;
    for (int64_t d = 0; d < p.value_dim; ++d) out[d] += weight * v[d];
  }
  naive_statistics(c, weights, i, at, r);
  naive_thumbnail(c, weights, i, r.thumbnails.data() + (b * p.q_heads + h) * c.spec.cells * c.spec.cells);
}

}  // namespace

NaiveAttention naive_attention(const AttentionCase& wanted, NaiveOptions options) {
  AttentionCase c = wanted;
  const AttentionProblem& f32 = wanted.in_f32();
  const std::vector<float> keys =
      options.order == DotOrder::forward ? rotated_keys<float>(f32) : rotated_keys<double>(f32);
  c.problem = with_keys(f32, keys);
  c.spec.element = Element::f32;
  const AttentionProblem& p = c.problem;
  NaiveAttention naive;
  naive.results = Results::sized(p, c.spec.cells);
  naive.map.resize(static_cast<size_t>(p.batch * p.q_heads * p.q_len * p.kv_len));
  for (int64_t b = 0; b < p.batch; ++b) {
    for (int64_t h = 0; h < p.q_heads; ++h) {
      for (int64_t i = 0; i < p.q_len; ++i) naive_row(c, b, h, i, options, naive);
    }
  }
  return naive;
}

std::vector<float> pool_map(const float* map, int64_t kv_len, const TileRequest& request) {
  std::vector<float> cells(static_cast<size_t>(request.rows() * request.columns()));
  std::vector<float> places(cells.size());
  for (int64_t i = request.row_begin; i < request.row_end; ++i) {
    for (int64_t j = request.key_begin; j < request.key_end; ++j) {
      const auto cell = static_cast<size_t>((i - request.row_begin) / request.bin * request.columns() +
                                            (j - request.key_begin) / request.bin);
      const float weight = map[i * kv_len + j];
      cells[cell] = request.pooling == Pooling::mean ? cells[cell] + weight : std::max(cells[cell], weight);
      places[cell] += 1;
    }
  }
  for (size_t i = 0; i < cells.size() && request.pooling == Pooling::mean; ++i) cells[i] /= places[i];
  return cells;
}

}  // namespace headscope::testing
