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

// Divergences of all pairs of heads by LibTorch, from weights [heads, places] that come part by part.

/// Adds to `sums` [heads, heads], f64, the m ln m of the mixtures m of every head and all later ones; of halved
/// weights. log of m + the smallest normal number is LibTorch's fastest way to it: xlogy and entr take number by
/// number.
void add_mixtures(at::Tensor& sums, const at::Tensor& halves);
/// The exact Jensen-Shannon divergences, from these sums over `rows` rows.
at::Tensor divergences_of_mixtures(const at::Tensor& sums, int64_t rows);
/// The middle of Hellinger's bracket, from a Gram matrix of square roots of weights over `rows` rows.
at::Tensor hellinger_middle(const at::Tensor& affinity, int64_t rows);

}  // namespace headscope::cli::bench
