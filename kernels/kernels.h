#pragma once

#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>

#include "kernels/attention.h"
#include "kernels/parallel.h"

namespace headscope {

/// One implementation of the attention operations. Stateless; all functions may be called from any thread.
struct AttentionKernel {
  std::string_view name;    ///< e.g. "reference", "cpu/avx512"
  std::string_view device;  ///< "cpu" or "cuda"

  /// Why this kernel cannot run the problem, or nothing when it can.
  std::optional<std::string> (*unsupported)(const AttentionProblem&);

  /// Scratch bytes that `forward` needs for `workers` workers; the caller allocates (64-byte aligned).
  size_t (*forward_workspace)(const AttentionProblem&, int workers);

  /// O, log-sum-exp, row statistics and thumbnails in one pass. Results do not depend on the number of workers.
  void (*forward)(const AttentionProblem&, const AttentionOutput&, std::span<std::byte> workspace, const ParallelFor&);

  /// Scratch bytes for `tile`.
  size_t (*tile_workspace)(const AttentionProblem&, const TileRequest&, int workers);

  /// Fills `cells` [request.rows(), request.columns()], row major, with pooled weights exp(score - lse).
  /// `row_max` and `log_sum` are [batch, q_heads, q_len], as a forward of the same problem wrote them.
  /// Returns false, with `cells` half filled, when `stop` was requested meanwhile.
  bool (*tile)(const AttentionProblem&, const float* row_max, const float* log_sum, const TileRequest&, float* cells,
               std::span<std::byte> workspace, const ParallelFor&, std::stop_token stop);
};

/// All kernels in this build, the reference first, the fastest of this machine last.
std::span<const AttentionKernel> attention_kernels();

/// The fastest kernel of `device` that can run the problem; the reference if no other can.
const AttentionKernel& select_attention_kernel(const AttentionProblem&, std::string_view device = "cpu");

}  // namespace headscope
