#include "app/cli/bench/gpu_data.h"

#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>

namespace headscope::cli::bench {
namespace {

at::Tensor random_rows(at::IntArrayRef shape, double deviation, const Gpu& gpu) {
  return at::randn(shape, at::TensorOptions().device(gpu.place).dtype(at::kFloat)).mul_(deviation).to(at::kBFloat16);
}

template <class T>
T* pointer(at::Tensor& to, at::Tensor made) {
  to = std::move(made);
  return to.data_ptr<T>();
}

}  // namespace

GpuData::GpuData(const AttentionShape& of, int64_t batch, const Gpu& gpu)
    : shape(of),
      q(random_rows({batch, of.q_heads, of.q_len, of.key_dim}, std::sqrt(2.5), gpu)),
      k(random_rows({batch, of.kv_heads, of.kv_len, of.key_dim}, std::sqrt(2.5), gpu)),
      v(random_rows({batch, of.kv_heads, of.kv_len, of.value_dim}, 1, gpu)) {}

GpuForward::GpuForward(const Gpu& gpu, const AttentionProblem& of, bool everything) : problem(of), gpu_(gpu) {
  const auto options = at::TensorOptions().device(gpu.place).dtype(at::kFloat);
  const auto rows = [&] { return at::empty({problem.batch, problem.q_heads, problem.q_len}, options); };
  out = at::empty({problem.batch, problem.q_heads, problem.q_len, problem.value_dim}, options);
  output_.out = {out.data_ptr<float>(), out.stride(0), out.stride(1), out.stride(2)};
  output_.row_max = pointer<float>(row_max, rows());
  output_.log_sum = pointer<float>(log_sum, rows());
  if (everything) want_statistics();
  workspace_.emplace(gpu.kernel.forward_workspace(problem, output_, 1), *gpu.device);
}

void GpuForward::want_statistics() {
  RowStatistics& s = output_.statistics;
  const auto rows = [&] { return at::empty_like(row_max); };
  s.entropy = pointer<float>(entropy, rows());
  s.max = pointer<float>(max, rows());
  s.argmax = pointer<int32_t>(argmax, rows().to(at::kInt));
  s.distance = pointer<float>(distance, rows());
  s.distance_variance = pointer<float>(variance, rows());
  s.sink = pointer<float>(sink, rows());
  s.window = pointer<float>(window, rows());
  s.sink_tokens = KernelForward::sink_tokens;
  s.window_tokens = KernelForward::window_tokens;
  thumbnails = at::empty({problem.batch, problem.q_heads, cells, cells}, row_max.options());
  sums = at::empty(thumbnails.sizes(), thumbnails.options().dtype(at::kLong));
  output_.thumbnails = {thumbnails.data_ptr<float>(), cells, (problem.kv_len + cells - 1) / cells,
                        sums.data_ptr<int64_t>()};
}

double GpuForward::run(int times) {
  if (thumbnails.defined()) {  // the caller's part of the contract
    thumbnails.zero_();
    sums.zero_();
  }
  return seconds_each(gpu_, times, [&] { gpu_.kernel.forward(problem, output_, workspace_->span(), SerialFor()); });
}

DenseRows::DenseRows(const GpuData& data, int64_t head, int64_t first, int64_t rows) {
  const AttentionShape& shape = data.shape;
  const at::Tensor q = data.q[0][head].narrow(0, first, rows).to(at::kFloat);
  const at::Tensor k = data.k[0][head / (shape.q_heads / shape.kv_heads)].to(at::kFloat);
  const at::Tensor index = at::arange(shape.kv_len, q.options());
  const at::Tensor position = at::arange(rows, q.options()) + (shape.kv_len - shape.q_len + first);
  distance = position.unsqueeze(1) - index.unsqueeze(0);
  seen = distance >= 0;
  const at::Tensor scores = at::mm(q, k.t()) * data.scale();
  weights = at::softmax(scores.masked_fill(~seen, -std::numeric_limits<float>::infinity()), -1);
}

at::Tensor on_host(const at::Tensor& tensor) { return tensor.to(at::kCPU, at::kFloat).contiguous(); }

Difference require_same(std::string_view result, const at::Tensor& ours, const at::Tensor& theirs, double tolerance) {
  const at::Tensor a = on_host(ours), b = on_host(theirs);
  return require_equal(result, numbers(a), numbers(b), tolerance);
}

}  // namespace headscope::cli::bench
