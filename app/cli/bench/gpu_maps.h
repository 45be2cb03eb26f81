#pragma once

#include "app/cli/bench/gpu_data.h"

namespace headscope::cli::bench {

/// What LibTorch needs to make weights of all heads' maps again on the device, for causal prompts with as many KV heads
/// as query heads. In bf16 its products round scores; in f32 they do not.
class GpuMaps {
 public:
  GpuMaps(const GpuData&, const at::Tensor& lse, at::ScalarType type);

  /// Weights of all heads in rows [first, first + rows), to the power `power`: f32 [heads, rows, first + rows].
  at::Tensor weights(int64_t first, int64_t rows, double power = 1) const;

  int64_t heads, tokens;

 private:
  at::Tensor q_, k_;      ///< [heads, tokens, dim]
  at::Tensor minus_lse_;  ///< [heads, tokens, 1], f32
  double scale_;
};

}  // namespace headscope::cli::bench
