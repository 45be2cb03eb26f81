#pragma once

#include <optional>
#include <string>

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include "app/cli/bench/bench.h"
#include "core/data/workspace.h"
#include "kernels/kernels.h"

namespace headscope::cli::bench {

struct AttentionShape {
  std::string name;
  int64_t q_heads = 0, kv_heads = 0, q_len = 0, kv_len = 0, key_dim = 0, value_dim = 0;

  std::string text() const;  ///< "GPT-2, 12 heads, d 64, 1,024 tokens"
  /// Keys that rows see, of all rows and query heads.
  double places() const;
  /// Operations of a causal forward: 2 (key_dim + value_dim) for each key that a row sees.
  double operations() const;
  double scale() const;
  /// Of tensors [batch, heads, rows, dim], f32 or bf16, wherever they lie.
  AttentionProblem problem(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) const;
};

/// Random f32 queries, keys and values [1, heads, rows, dim] of a causal prompt or of its last rows. Scores have a
/// standard deviation of about 2.5, as trained heads have them: flat ones would make every exp and every maximum easy.
struct AttentionData {
  AttentionData(const AttentionShape&, at::Generator&);

  AttentionProblem problem() const { return shape.problem(q, k, v); }
  double scale() const { return shape.scale(); }
  /// The same, rounded to bf16, or widened again.
  AttentionData in_bf16() const { return in(at::kBFloat16); }
  AttentionData in_f32() const { return in(at::kFloat); }

  AttentionShape shape;
  at::Tensor q, k, v;

 private:
  AttentionData in(at::ScalarType) const;
};

/// Kernels to time with bf16 data: those that the user named, else the fastest of this machine that takes it.
std::vector<AttentionKernel> bf16_kernels(const Setting&, const AttentionData& rounded);

at::Generator seeded_generator(uint64_t seed);

/// A kernel's forward of some data, with memory for all that it writes. `everything`: row statistics and thumbnails,
/// too.
class KernelForward {
 public:
  KernelForward(const AttentionKernel&, const AttentionData&, bool everything);

  /// Returns the seconds of the forward.
  double run();

  static constexpr int64_t cells = 64, sink_tokens = 1, window_tokens = 16;
  at::Tensor out, row_max, log_sum;                                   ///< [1, heads, rows, value_dim], [heads, rows]
  at::Tensor entropy, max, argmax, distance, variance, sink, window;  ///< [heads, rows]
  at::Tensor thumbnails, sums;  ///< [heads, cells, cells], maxima and sums (see Thumbnails)

  /// Means of the cells from their sums, f32.
  at::Tensor mean_thumbnails() const;

 private:
  void want_statistics(const AttentionData&);

  const AttentionKernel kernel_;
  const AttentionProblem problem_;
  AttentionOutput output_;
  std::optional<Workspace> workspace_;  ///< made when it is known what is wanted
};

/// Numbers of a contiguous f32 tensor.
std::span<const float> numbers(const at::Tensor&);

}  // namespace headscope::cli::bench
