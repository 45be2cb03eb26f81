#pragma once

#include "app/cli/bench/attention_data.h"

namespace headscope::cli::bench {

/// What the library's composition cannot give (library_attention.h), by the definition in float64, one row of cells at
/// a time. For comparisons, never timed. Of causal prompts.
struct ExactMaxima {
  /// `argmax`: int32 [heads, rows], the keys that somebody else found likeliest.
  ExactMaxima(const AttentionData&, const at::Tensor& argmax);

  at::Tensor max;         ///< [heads, rows], the largest weight, f32
  at::Tensor at_argmax;   ///< [heads, rows], the weight of the given keys: the largest one, where these are right
  at::Tensor thumbnails;  ///< [heads, cells, cells], the largest weight of each cell
};

}  // namespace headscope::cli::bench
