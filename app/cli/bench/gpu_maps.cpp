#include "app/cli/bench/gpu_maps.h"

#include <ATen/ATen.h>

namespace headscope::cli::bench {

GpuMaps::GpuMaps(const GpuData& data, const at::Tensor& lse, at::ScalarType type)
    : heads(data.shape.q_heads),
      tokens(data.shape.q_len),
      q_(data.q[0].to(type)),
      k_(data.k[0].to(type)),
      minus_lse_(lse.view({heads, tokens, 1}).neg()),
      scale_(data.scale()) {}

at::Tensor GpuMaps::weights(int64_t first, int64_t rows, double power) const {
  const at::Tensor keys = k_.narrow(1, 0, first + rows).transpose(1, 2);
  at::Tensor out = at::bmm(q_.narrow(1, first, rows), keys).to(at::kFloat).mul_(power * scale_);
  out.add_(minus_lse_.narrow(1, first, rows), power).exp_();
  out.narrow(2, first, rows).tril_();
  return out;
}

}  // namespace headscope::cli::bench
