#include "core/model/linear.h"

#include <ATen/ATen.h>

#include "core/data/workspace.h"
#include "core/model/torch_workers.h"
#include "kernels/linear.h"

namespace headscope {
namespace {

/// The same numbers with columns that lie side by side, as a file's tensors have them.
at::Tensor with_dense_rows(const at::Tensor& rows) { return rows.stride(1) == 1 ? rows : rows.contiguous(); }

/// What x and y leave open.
LinearProblem problem_of(const Linear& linear, const at::Tensor& weight) {
  LinearProblem p;
  if (weight.scalar_type() == at::kBFloat16) {
    p.bf16_weights = static_cast<const uint16_t*>(weight.const_data_ptr());
  } else {
    p.weights = weight.const_data_ptr<float>();
  }
  p.rows = weight.size(0);
  p.columns = weight.size(1);
  p.row_stride = weight.stride(0);
  p.bias = linear.bias.defined() ? linear.bias.const_data_ptr<float>() : nullptr;
  return p;
}

}  // namespace

at::Tensor own_product(const Linear& linear, const at::Tensor& x_any, bool exact) {
  const at::Tensor weight = with_dense_rows(linear.weight), x = with_dense_rows(x_any);
  at::Tensor y = at::empty({x.size(0), weight.size(0)}, at::kFloat);
  LinearProblem p = problem_of(linear, weight);
  p.x = x.const_data_ptr<float>();
  p.tokens = x.size(0);
  p.x_stride = x.stride(0);
  p.y = y.data_ptr<float>();
  p.y_stride = y.stride(0);
  p.exact = exact;
  const TorchWorkers workers;
  const LinearKernel& kernel = select_linear_kernel(p);
  const Workspace workspace(kernel.workspace(p, workers.workers()));
  kernel.multiply(p, workspace.span(), workers);
  return y;
}

namespace {

/// Products of bf16 with sums in f32.
at::Tensor bf16_product(const at::Tensor& x, const at::Tensor& weight) { return at::mm(x, weight.t(), at::kFloat); }

/// The same with x in f32, exactly: as three numbers of bf16, the small ones first (kernels/cuda/planes.cuh).
at::Tensor split_product(const at::Tensor& x, const at::Tensor& weight) {
  const at::Tensor high = x.to(at::kBFloat16), rest = x - high.to(at::kFloat);
  const at::Tensor middle = rest.to(at::kBFloat16), low = (rest - middle.to(at::kFloat)).to(at::kBFloat16);
  const int64_t tokens = x.size(0);
  if (tokens > few_tokens) return bf16_product(low, weight) + bf16_product(middle, weight) + bf16_product(high, weight);
  const at::Tensor parts = bf16_product(at::cat({low, middle, high}), weight);  // reads the weights once
  const auto part = [&](int64_t index) { return parts.narrow(0, index * tokens, tokens); };
  return part(0) + part(1) + part(2);
}

}  // namespace

at::Tensor gpu_product(const Linear& linear, const at::Tensor& x, bool exact) {
  if (linear.weight.scalar_type() == at::kFloat) return at::linear(x, linear.weight, linear.bias);
  const at::Tensor y = exact ? split_product(x, linear.weight) : bf16_product(x.to(at::kBFloat16), linear.weight);
  return linear.bias.defined() ? y + linear.bias : y;
}

std::string_view linear_kernel_name(const Linear& linear, int64_t tokens) {
  LinearProblem p = problem_of(linear, linear.weight);
  p.tokens = tokens;
  return select_linear_kernel(p).name;
}

}  // namespace headscope
