#pragma once

#include "app/cli/bench/attention_data.h"

namespace headscope::cli::bench {

/// The operation behind every call below.
inline constexpr const char* flash_operation = "aten::_scaled_dot_product_flash_attention_for_cpu";

/// LibTorch's flash attention of the CPU, called by its name. It wants as many KV heads as query heads and values as
/// wide as keys, so KV heads are repeated and values padded with zeros beforehand, which is not timed.
class LibraryForward {
 public:
  explicit LibraryForward(const AttentionData&);

  double run();
  at::Tensor out() const;  ///< [1, heads, rows, value_dim], contiguous
  at::Tensor lse() const;  ///< [heads, rows], contiguous

 protected:
  /// (output, log-sum-exp) with other values, as the library lays them out.
  std::tuple<at::Tensor, at::Tensor> attend(const at::Tensor& values) const;

  const AttentionShape shape_;
  const double scale_;
  at::Tensor q_, k_, v_;
  at::Tensor out_, lse_;
};

/// The same with row statistics by unmodified calls, without any map in memory (docs/performance.md):
/// - entropy = LSE - scale * q . (P K), with P K by a call that takes the keys as values;
/// - distance, its variance, sink mass and a map pooled along its rows by values that are functions of the key alone:
///   its position, the square of it, an indicator of the first keys, an indicator of each bin;
/// - window mass by products of blocks along the diagonal.
/// Maxima cannot be had in this way: not the largest weight, its key, or max-pooled thumbnails; these are mean-pooled.
class LibraryStatistics : public LibraryForward {
 public:
  explicit LibraryStatistics(const AttentionData&);

  double run();
  at::Tensor entropy, distance, variance, sink, window;  ///< [heads, rows]
  at::Tensor thumbnails;                                 ///< [heads, cells, cells], means

 private:
  void compute();
  at::Tensor by_key() const;
  at::Tensor window_mass() const;

  int64_t bin_;
  std::vector<at::Tensor> functions_;  ///< of the key, as values [1, heads, keys, key_dim]
  at::Tensor positions_;               ///< of query rows, scaled as those of keys
  at::Tensor near_;                    ///< [window, 2 window]: which keys of two blocks a row's window holds
};

}  // namespace headscope::cli::bench
