#include "core/run/bf16_linear.h"

#include <algorithm>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "kernels/bf16_product.h"

namespace headscope {
namespace {

/// Without such instructions LibTorch's bf16 products are slower than f32.
bool processor_multiplies_bf16() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bf16") != 0;
#else
  return false;
#endif
}

at::Tensor with_widened_blocks(const at::Tensor& weight, const at::Tensor& x) {
  constexpr int64_t block_elements = 2 << 20;
  const int64_t rows = weight.size(0), step = std::max<int64_t>(1, block_elements / weight.size(1));
  at::Tensor y = at::empty({x.size(0), rows}, at::kFloat);
  for (int64_t row = 0; row < rows; row += step) {
    const int64_t count = std::min(step, rows - row);
    at::Tensor part = y.narrow(1, row, count);
    at::mm_out(part, x, weight.narrow(0, row, count).to(at::kFloat).t());
  }
  return y;
}

at::Tensor with_vector(const at::Tensor& weight, const at::Tensor& x) {
  const at::Tensor vector = x.contiguous();
  at::Tensor y = at::empty({1, weight.size(0)}, at::kFloat);
  const auto* weights = static_cast<const uint16_t*>(weight.const_data_ptr());
  const auto* values = vector.const_data_ptr<float>();
  auto* sums = y.data_ptr<float>();
  const int64_t columns = weight.size(1), stride = weight.stride(0);
  const int64_t worth_a_thread = std::max<int64_t>(1, (32 << 10) / std::max<int64_t>(1, columns));  // rows
  at::parallel_for(0, weight.size(0), worth_a_thread, [&](int64_t begin, int64_t end) {
    multiply({weights + begin * stride, end - begin, columns, stride, values, sums + begin});
  });
  return y;
}

}  // namespace

Bf16Way bf16_way(const at::Tensor& weight, int64_t tokens, bool exact) {
  if (tokens == 1 && weight.stride(1) == 1) return Bf16Way::vector;
  return !exact && processor_multiplies_bf16() ? Bf16Way::rounded : Bf16Way::widened;
}

at::Tensor bf16_product(const at::Tensor& weight, const at::Tensor& x, Bf16Way way) {
  switch (way) {
    case Bf16Way::rounded:
      return at::linear(x.to(at::kBFloat16), weight).to(at::kFloat);
    case Bf16Way::widened:
      return with_widened_blocks(weight, x);
    case Bf16Way::vector:
      return with_vector(weight, x);
  }
  throw std::logic_error("bf16_product: unknown way");
}

}  // namespace headscope
