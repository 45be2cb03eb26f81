#pragma once

#include <memory>
#include <optional>

#include "app/cli/bench/attention_data.h"
#include "app/cli/bench/gpu.h"

namespace headscope::cli::bench {

/// Random bf16 queries, keys and values on the device, spread as AttentionData's: [batch, heads, rows, dim], a causal
/// prompt or its last rows.
struct GpuData {
  GpuData(const AttentionShape&, int64_t batch, const Gpu&);

  AttentionProblem problem() const { return shape.problem(q, k, v); }
  double scale() const { return shape.scale(); }

  AttentionShape shape;
  at::Tensor q, k, v;
};

/// Our kernel's forward of some data, with memory for all that it writes, on the device. `everything`: row statistics
/// and thumbnails, too.
class GpuForward {
 public:
  GpuForward(const Gpu&, const AttentionProblem&, bool everything);

  /// Seconds of one forward, of so many in a row.
  double run(int times = 1);

  static constexpr int64_t cells = KernelForward::cells;
  const AttentionProblem problem;
  at::Tensor out, row_max, log_sum;                           ///< [batch, heads, rows, value_dim], [batch, heads, rows]
  at::Tensor entropy, max, distance, variance, sink, window;  ///< [batch, heads, rows]
  at::Tensor argmax;                                          ///< [batch, heads, rows]
  at::Tensor thumbnails, sums;  ///< [batch, heads, cells, cells]: maxima, and sums (Thumbnails::sum_unit)

 private:
  void want_statistics();

  const Gpu& gpu_;
  AttentionOutput output_;
  std::optional<Workspace> workspace_;
};

/// Weights of some rows of one head, in f32, by plain products and softmax: [rows, keys], and the key's distance from
/// each row.
struct DenseRows {
  DenseRows(const GpuData&, int64_t head, int64_t first, int64_t rows);
  at::Tensor weights, distance, seen;
};

/// On the host, f32, contiguous: as require_equal takes it through `numbers`.
at::Tensor on_host(const at::Tensor&);

/// The difference of two tensors of the device.
Difference require_same(std::string_view result, const at::Tensor& ours, const at::Tensor& theirs, double tolerance);

}  // namespace headscope::cli::bench
