#include "kernels/reference/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "kernels/reference/divergence.h"
#include "kernels/reference/map_statistics.h"
#include "kernels/reference/scores.h"
#include "kernels/reference/tiles.h"
#include "kernels/shared_cells.h"

namespace headscope {
namespace {

using reference::aligned;
using reference::flat;
using reference::is_visible;
using reference::keys_of;
using reference::kv_head_of;
using reference::position_of;
using reference::Query;
using reference::rotated_keys_bytes;
using reference::score;

constexpr double infinity = std::numeric_limits<double>::infinity();

// --- one row -----------------------------------------------------------------------------------------------

struct Softmax {
  int64_t visible = 0;
  double row_max = -infinity;
  double sum = 0;  ///< of exp(score - row_max)
};

/// Softmax of one row: `weights` [kv_len] holds 0 where a key is not visible. Writes the scores, too, where they are
/// wanted.
Softmax softmax_row(const AttentionProblem& p, const InputRows& keys, const Query& query, double* weights,
                    const Rows<float>& scores) {
  Softmax result;
  for (int64_t j = 0; j < p.kv_len; ++j) {
    weights[j] = -infinity;
    if (!is_visible(p, query, j)) continue;
    weights[j] = score(p, keys, query, j);
    ++result.visible;
    result.row_max = std::max(result.row_max, weights[j]);
  }
  if (scores.data) {
    float* row = scores.row(query.batch, query.head, query.row);
    for (int64_t j = 0; j < p.kv_len; ++j) row[j] = static_cast<float>(weights[j]);
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
      sum += weights[j] * double{p.v.at(query.batch, kv_head_of(p, query.head), j - p.first_key, d)};
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

void add_to_thumbnails(const AttentionProblem& p, const Thumbnails& wanted, const Query& query, const double* weights) {
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
  const InputRows keys = keys_of(p, workspace.data(), parallel);
  std::byte* rows = workspace.data() + rotated_keys_bytes(p);
  parallel.run(p.batch * p.q_heads * p.q_len, [&](int64_t task, int worker) {
    auto* weights = reinterpret_cast<double*>(rows + static_cast<size_t>(worker) * row_bytes(p));
    const Query query{task / p.q_len / p.q_heads, task / p.q_len % p.q_heads, task % p.q_len};
    const Softmax softmax = softmax_row(p, keys, query, weights, output.scores);
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

}  // namespace

AttentionKernel reference_attention_kernel() {
  return {.name = "reference",
          .device = "cpu",
          .unsupported = unsupported_on_cpus,
          .forward_workspace = forward_workspace,
          .forward = forward,
          .tiles_workspace = reference::tiles_workspace,
          .tiles = reference::tiles,
          .map_statistics_workspace = reference::map_statistics_workspace,
          .map_statistics = reference::map_statistics,
          .divergence_workspace = reference::divergence_workspace,
          .divergence = reference::divergence};
}

}  // namespace headscope
