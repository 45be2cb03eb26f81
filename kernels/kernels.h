#pragma once

#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>

#include "kernels/attention.h"
#include "kernels/divergence.h"
#include "kernels/map_statistics.h"
#include "kernels/parallel.h"

namespace headscope {

/// One implementation of the attention operations. Stateless; all functions may be called from any thread.
///
/// What every kernel promises, and tests/kernels checks:
/// - Results are the same to the bit for any number of workers and however the rows of a prompt are cut into calls. A
///   kernel of a GPU repeats its bits, too, but sums few rows over many keys in another order than many rows.
/// - Tiles and slices of tiles agree to the bit where they overlap, and a maximum over a coarse cell is the maximum
///   of its fine cells.
/// - A key or value that a row does not see may hold anything, NaN included, without reaching the row. One that it
///   does see reaches it: such a row has NaN where it depends on it, and argmax is -1 or a real key.
/// - Nothing is written beside the outputs and the workspace, and no other memory is needed.
/// Kernels in f32 may count weights of about exp(-87) of the row's largest, and less, as 0. "cpu/AVX512_BF16" takes
/// bf16 alone; for `out` it rounds weights, relative to the largest so far, to bf16, and denormal numbers count as 0.
/// "cuda" does so where queries, keys and values are bf16. Its problems, outputs, cells and workspaces name the memory
/// of the device, and work is started on ParallelFor::stream() and done later (kernels/cuda/attention.h).
struct AttentionKernel {
  std::string_view name;    ///< "reference", "cpu/AVX3" (AVX-512), "cpu/AVX512_BF16", ...
  std::string_view device;  ///< "cpu" or "cuda"

  /// Why this kernel cannot run the problem, or nothing when it can.
  std::optional<std::string> (*unsupported)(const AttentionProblem&);

  /// Scratch bytes that `forward` needs for `workers` workers; the caller allocates (64-byte aligned). Of the output,
  /// what is wanted counts and no pointer is followed.
  size_t (*forward_workspace)(const AttentionProblem&, const AttentionOutput&, int workers);

  /// O, log-sum-exp, row statistics, thumbnails and raw scores in one pass. Throws std::invalid_argument, before
  /// anything is written, for more thumbnail cells than Thumbnails::max_cells.
  void (*forward)(const AttentionProblem&, const AttentionOutput&, std::span<std::byte> workspace, const ParallelFor&);

  /// Scratch bytes for `tiles`.
  size_t (*tiles_workspace)(const AttentionProblem&, std::span<const TileRequest>, int workers);

  /// Fills `cells[i]` [rows(), columns() of request i], row major, with pooled weights exp(score - lse), all requests
  /// in one parallel run. `row_max` and `log_sum` are [batch, q_heads, q_len], as a forward of the same problem wrote
  /// them. Returns false, with the cells half filled, when `stop` was requested meanwhile.
  bool (*tiles)(const AttentionProblem&, const float* row_max, const float* log_sum, std::span<const TileRequest>,
                std::span<float* const> cells, std::span<std::byte> workspace, const ParallelFor&,
                std::stop_token stop);

  /// Scratch bytes for `map_statistics`; what is wanted counts and no pointer is followed.
  size_t (*map_statistics_workspace)(const AttentionProblem&, const MapStatistics&, int workers);

  /// Writes what is asked for, from the same `row_max` and `log_sum` as tiles. Returns false, with the arrays half
  /// filled, when `stop` was requested meanwhile.
  bool (*map_statistics)(const AttentionProblem&, const float* row_max, const float* log_sum, const MapStatistics&,
                         std::span<std::byte> workspace, const ParallelFor&, std::stop_token stop);

  /// Scratch bytes for `divergence`.
  size_t (*divergence_workspace)(const AttentionProblem&, const DivergenceRequest&, int workers);

  /// The divergence of every pair of query heads. `row_max` and `log_sum` are [batch, q_heads, q_len], as a forward of
  /// the same problem by the same kernel wrote them; the bounds count on that. Throws std::invalid_argument, before
  /// anything is written, for a request outside the problem. Returns false, with nothing written, when `stop` was
  /// requested meanwhile.
  bool (*divergence)(const AttentionProblem&, const float* row_max, const float* log_sum, const DivergenceRequest&,
                     const DivergenceOutput&, std::span<std::byte> workspace, const ParallelFor&, std::stop_token stop);
};

/// What AttentionKernel::unsupported says of every kernel for "cpu", or nothing.
std::optional<std::string> unsupported_on_cpus(const AttentionProblem&);

/// All kernels in this build, the reference first, the fastest of this machine last.
std::span<const AttentionKernel> attention_kernels();

/// The fastest kernel of `device` that can run the problem; the reference if no other can.
const AttentionKernel& select_attention_kernel(const AttentionProblem&, std::string_view device = "cpu");

}  // namespace headscope
