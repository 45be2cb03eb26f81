#pragma once

#include "app/cli/bench/attention_data.h"

namespace headscope::cli::bench {

/// What LibTorch needs to make weights of all heads' maps again: queries, keys and the log-sum-exps of its own flash
/// attention. For causal prompts with as many KV heads as query heads.
struct LibraryMaps {
  /// Computes the log-sum-exps.
  explicit LibraryMaps(const AttentionData&);

  /// Rows of some heads, and the keys that the last of these rows sees. To be chosen so that they stay in the caches.
  struct Block {
    int64_t head = 0, heads = 0, row = 0, rows = 0;
    int64_t keys() const { return row + rows; }
  };
  /// Weights of the block, exp(score - LSE), to the power `power`: [heads, rows, keys], 0 where a row does not see.
  at::Tensor weights(const Block&, double power = 1) const;

  int64_t heads, tokens;
  double scale;
  at::Tensor q, k;       ///< [heads, tokens, key_dim]
  at::Tensor minus_lse;  ///< [heads, tokens, 1]
};

}  // namespace headscope::cli::bench
