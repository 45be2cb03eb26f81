#include "kernels/reference/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "kernels/shared_cells.h"

namespace headscope {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

struct Query {
  int64_t batch, head, row;
};

size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

int64_t kv_head_of(const AttentionProblem& p, int64_t q_head) { return q_head / (p.q_heads / p.kv_heads); }
int64_t position_of(const AttentionProblem& p, int64_t row) { return row + p.causal_offset; }
int64_t keys_present(const AttentionProblem& p) { return p.kv_len - p.first_key; }
int64_t flat(const AttentionProblem& p, const Query& query) {
  return (query.batch * p.q_heads + query.head) * p.q_len + query.row;
}

// --- the definition of a score -----------------------------------------------------------------------------

bool is_visible(const AttentionProblem& p, const Query& query, int64_t key) {
  const int64_t position = position_of(p, query.row);
  if (key < p.first_key) return false;
  if (p.causal && key > position) return false;
  if (p.window != 0 && key <= position - p.window) return false;
  return !p.key_log_weight || p.key_log_weight[query.head * p.kv_len + key] != -infinity;
}

double score(const AttentionProblem& p, const Rows<const float>& keys, const Query& query, int64_t key) {
  const float* q = p.q.row(query.batch, query.head, query.row);
  const float* k = keys.row(query.batch, kv_head_of(p, query.head), key - p.first_key);
  double s = 0;
  for (int64_t d = 0; d < p.key_dim; ++d) s += double{q[d]} * double{k[d]};
  s *= p.scale;
  if (p.soft_cap > 0) s = p.soft_cap * std::tanh(s / p.soft_cap);
  if (p.alibi_slopes) s += double{p.alibi_slopes[query.head]} * static_cast<double>(key);
  if (p.key_log_weight) s += p.key_log_weight[query.head * p.kv_len + key];
  return s;
}

// --- K = rotate(V) -----------------------------------------------------------------------------------------

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

size_t rotated_keys_bytes(const AttentionProblem& p) {
  if (!p.key_from_value.enabled) return 0;
  return aligned(static_cast<size_t>(p.batch * p.kv_heads * keys_present(p) * p.key_dim) * sizeof(float));
}

/// The stored keys, or those made from V into `storage` [batch, kv_heads, kv_len - first_key, key_dim].
Rows<const float> keys_of(const AttentionProblem& p, std::byte* storage, const ParallelFor& parallel) {
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
  return {rotated.data, rotated.batch_stride, rotated.head_stride, rotated.row_stride};
}

// --- one row -----------------------------------------------------------------------------------------------

/// Softmax of one row: `weights` [kv_len] holds 0 where a key is not visible.
struct Softmax {
  int64_t visible = 0;
  double row_max = -infinity;
  double sum = 0;  ///< of exp(score - row_max)
};

Softmax softmax_row(const AttentionProblem& p, const Rows<const float>& keys, const Query& query, double* weights) {
  Softmax result;
  for (int64_t j = 0; j < p.kv_len; ++j) {
    weights[j] = -infinity;
    if (!is_visible(p, query, j)) continue;
    weights[j] = score(p, keys, query, j);
    ++result.visible;
    result.row_max = std::max(result.row_max, weights[j]);
  }
  if (result.visible == 0) {
    std::fill_n(weights, p.kv_len, 0.0);
    return result;
  }
  for (int64_t j = 0; j < p.kv_len; ++j) {
    weights[j] = is_visible(p, query, j) ? std::exp(weights[j] - result.row_max) : 0;
    result.sum += weights[j];
  }
  for (int64_t j = 0; j < p.kv_len; ++j) {
    if (is_visible(p, query, j)) weights[j] /= result.sum;  // the sum may be NaN
  }
  return result;
}

void write_out(const AttentionProblem& p, const Rows<float>& out, const Query& query, const double* weights) {
  if (!out.data) return;
  float* o = out.row(query.batch, query.head, query.row);
  for (int64_t d = 0; d < p.value_dim; ++d) {
    double sum = 0;
    for (int64_t j = 0; j < p.kv_len; ++j) {
      if (!is_visible(p, query, j)) continue;  // a value behind the mask may be NaN
      sum += weights[j] * double{p.v.row(query.batch, kv_head_of(p, query.head), j - p.first_key)[d]};
    }
    o[d] = static_cast<float>(sum);
  }
}

void write_statistics(const AttentionProblem& p, const RowStatistics& wanted, const Query& query,
                      const double* weights) {
  const int64_t position = position_of(p, query.row);
  double entropy = 0, largest = 0, distance = 0, variance = 0, sink = 0, window = 0;
  int64_t argmax = -1;
  for (int64_t j = 0; j < p.kv_len; ++j) {
    const double w = weights[j];
    if (!is_visible(p, query, j)) continue;
    if (w != 0) entropy -= w * std::log(w);  // NaN stays NaN
    if (argmax < 0 || w > largest) largest = w, argmax = j;
    distance += w * static_cast<double>(position - j);
    if (j < wanted.sink_tokens) sink += w;
    if (j > position - wanted.window_tokens && j <= position) window += w;
  }
  for (int64_t j = 0; j < p.kv_len; ++j) {
    const double off = static_cast<double>(position - j) - distance;
    if (is_visible(p, query, j)) variance += weights[j] * off * off;
  }
  const int64_t at = flat(p, query);
  const auto write = [at](float* to, double value) {
    if (to) to[at] = static_cast<float>(value);
  };
  write(wanted.entropy, entropy < 0 ? 0 : entropy);
  write(wanted.max, largest);
  write(wanted.distance, distance);
  write(wanted.distance_variance, variance);
  write(wanted.sink, sink);
  write(wanted.window, window);
  if (wanted.argmax) wanted.argmax[at] = static_cast<int32_t>(argmax);
}

void add_to_thumbnails(const AttentionProblem& p, const Thumbnails& wanted, const Query& query,
                       const double* weights) {
  const int64_t position = position_of(p, query.row), recorded = wanted.cells * wanted.bin;
  if (position < 0 || position >= recorded) return;
  const int64_t head = query.batch * p.q_heads + query.head;
  const int64_t first = (head * wanted.cells + position / wanted.bin) * wanted.cells;
  const int64_t keys = std::min(p.kv_len, recorded);
  for (int64_t j = 0; wanted.max && j < keys; ++j) {
    raise_cell(wanted.max + first + j / wanted.bin, static_cast<float>(weights[j]));
  }
  for (int64_t j = 0; wanted.sum && j < keys;) {
    const int64_t cell = j / wanted.bin;
    double sum = 0;
    for (; j < keys && j / wanted.bin == cell; ++j) sum += weights[j];
    add_to_cell(wanted.sum + first + cell,
                std::isnan(sum) ? Thumbnails::sum_of_nan : std::llround(sum / Thumbnails::sum_unit));
  }
}

// --- the operations ----------------------------------------------------------------------------------------

size_t row_bytes(const AttentionProblem& p) { return aligned(static_cast<size_t>(p.kv_len) * sizeof(double)); }

size_t forward_workspace(const AttentionProblem& p, const AttentionOutput&, int workers) {
  return rotated_keys_bytes(p) + row_bytes(p) * static_cast<size_t>(workers);
}

void forward(const AttentionProblem& p, const AttentionOutput& output, std::span<std::byte> workspace,
             const ParallelFor& parallel) {
  const Thumbnails& thumbnails = output.thumbnails;
  if ((thumbnails.max || thumbnails.sum) && thumbnails.cells > Thumbnails::max_cells) {
    throw std::invalid_argument("a thumbnail has more cells than kernels take");
  }
  const Rows<const float> keys = keys_of(p, workspace.data(), parallel);
  std::byte* rows = workspace.data() + rotated_keys_bytes(p);
  parallel.run(p.batch * p.q_heads * p.q_len, [&](int64_t task, int worker) {
    auto* weights = reinterpret_cast<double*>(rows + static_cast<size_t>(worker) * row_bytes(p));
    const Query query{task / p.q_len / p.q_heads, task / p.q_len % p.q_heads, task % p.q_len};
    const Softmax softmax = softmax_row(p, keys, query, weights);
    write_out(p, output.out, query, weights);
    if (output.row_max) output.row_max[task] = static_cast<float>(softmax.row_max);
    if (output.log_sum) {
      // Relative to the f32 row_max, so that the two floats add up to the exact log-sum-exp.
      const double rounding = softmax.row_max - double{static_cast<float>(softmax.row_max)};
      output.log_sum[task] = softmax.visible == 0 ? 0.0F : static_cast<float>(std::log(softmax.sum) + rounding);
    }
    write_statistics(p, output.statistics, query, weights);
    add_to_thumbnails(p, output.thumbnails, query, weights);
  });
}

size_t cell_row_bytes(const TileRequest& request) {
  return aligned(static_cast<size_t>(request.columns()) * sizeof(double));
}

size_t tile_workspace(const AttentionProblem& p, const TileRequest& request, int workers) {
  return rotated_keys_bytes(p) + cell_row_bytes(request) * static_cast<size_t>(workers);
}

/// Adds (mean) or raises (max) the cells by the weights of one query row.
void pool_row(const AttentionProblem& p, const Rows<const float>& keys, double row_max, double log_sum,
              const TileRequest& request, const Query& query, double* pooled) {
  for (int64_t j = request.key_begin; j < request.key_end; ++j) {
    if (!is_visible(p, query, j)) continue;
    const double weight = std::exp(score(p, keys, query, j) - row_max - log_sum);
    double& cell = pooled[(j - request.key_begin) / request.bin];
    if (request.pooling == Pooling::mean) {
      cell += weight;
    } else if (weight > cell || std::isnan(weight)) {  // a NaN cell stays NaN
      cell = weight;
    }
  }
}

bool tile(const AttentionProblem& p, const float* row_max, const float* log_sum, const TileRequest& request,
          float* cells, std::span<std::byte> workspace, const ParallelFor& parallel, std::stop_token stop) {
  const Rows<const float> keys = keys_of(p, workspace.data(), parallel);
  std::byte* scratch = workspace.data() + rotated_keys_bytes(p);
  const int64_t columns = request.columns();
  parallel.run(request.rows(), [&](int64_t r, int worker) {
    auto* pooled = reinterpret_cast<double*>(scratch + static_cast<size_t>(worker) * cell_row_bytes(request));
    std::fill_n(pooled, columns, 0.0);
    const int64_t begin = request.row_begin + r * request.bin, end = std::min(begin + request.bin, request.row_end);
    for (int64_t row = begin; row < end; ++row) {
      if (stop.stop_requested()) return;
      const Query query{request.batch, request.q_head, row};
      const int64_t at = flat(p, query);
      pool_row(p, keys, row_max[at], log_sum[at], request, query, pooled);
    }
    for (int64_t c = 0; c < columns; ++c) {
      const int64_t first = request.key_begin + c * request.bin;
      const int64_t width = std::min(request.bin, request.key_end - first);
      const bool mean = request.pooling == Pooling::mean;
      const double places = mean ? static_cast<double>((end - begin) * width) : 1;
      cells[r * columns + c] = static_cast<float>(pooled[c] / places);
    }
  });
  return !stop.stop_requested();
}

std::optional<std::string> unsupported(const AttentionProblem&) { return std::nullopt; }

}  // namespace

AttentionKernel reference_attention_kernel() {
  return {"reference", "cpu", unsupported, forward_workspace, forward, tile_workspace, tile};
}

}  // namespace headscope
