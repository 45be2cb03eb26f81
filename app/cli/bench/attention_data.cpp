#include "app/cli/bench/attention_data.h"

#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include "core/base/text.h"
#include "core/model/torch_workers.h"

namespace headscope::cli::bench {
namespace {

/// Queries and keys of this deviation give scores of 2.5.
at::Tensor random_rows(at::IntArrayRef shape, double deviation, at::Generator& random) {
  return at::randn(shape, random, at::kFloat).mul_(deviation);
}

InputRows rows_of(const at::Tensor& t) {
  const Element element = t.scalar_type() == at::kBFloat16 ? Element::bf16 : Element::f32;
  return {t.const_data_ptr(), t.stride(0), t.stride(1), t.stride(2), element};
}

}  // namespace

double AttentionShape::scale() const { return 1 / std::sqrt(static_cast<double>(key_dim)); }

AttentionProblem AttentionShape::problem(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) const {
  AttentionProblem p;
  p.batch = q.size(0);
  p.q_heads = q_heads;
  p.kv_heads = kv_heads;
  p.q_len = q_len;
  p.kv_len = kv_len;
  p.key_dim = key_dim;
  p.value_dim = value_dim;
  p.q = rows_of(q);
  p.k = rows_of(k);
  p.v = rows_of(v);
  p.scale = static_cast<float>(scale());
  p.causal_offset = kv_len - q_len;
  return p;
}

std::string AttentionShape::text() const {
  const auto count = [](int64_t value) { return format_count(static_cast<uint64_t>(value)); };
  const std::string heads = q_heads == kv_heads ? count(q_heads) : fmt::format("{}/{}", q_heads, kv_heads);
  const std::string dim = key_dim == value_dim ? count(key_dim) : fmt::format("{}/{}", key_dim, value_dim);
  return fmt::format("{}, {} heads, d {}, {} {}", name, heads, dim, count(kv_len), q_len == 1 ? "keys" : "tokens");
}

double AttentionShape::places() const {
  double visible = 0;
  for (int64_t i = 0; i < q_len; ++i) visible += static_cast<double>(kv_len - q_len + i + 1);
  return visible * static_cast<double>(q_heads);
}

double AttentionShape::operations() const { return places() * static_cast<double>(2 * (key_dim + value_dim)); }

AttentionData::AttentionData(const AttentionShape& of, at::Generator& random)
    : shape(of),
      q(random_rows({1, of.q_heads, of.q_len, of.key_dim}, std::sqrt(2.5), random)),
      k(random_rows({1, of.kv_heads, of.kv_len, of.key_dim}, std::sqrt(2.5), random)),
      v(random_rows({1, of.kv_heads, of.kv_len, of.value_dim}, 1, random)) {}

AttentionData AttentionData::in(at::ScalarType type) const {
  AttentionData other = *this;
  for (at::Tensor* rows : {&other.q, &other.k, &other.v}) *rows = rows->to(type);
  return other;
}

std::vector<AttentionKernel> bf16_kernels(const Setting& setting, const AttentionData& rounded) {
  if (setting.kernels_named) return setting.kernels;
  return {select_attention_kernel(rounded.problem())};
}

at::Generator seeded_generator(uint64_t seed) { return at::detail::createCPUGenerator(seed); }

KernelForward::KernelForward(const AttentionKernel& kernel, const AttentionData& data, bool everything)
    : out(at::empty({1, data.shape.q_heads, data.shape.q_len, data.shape.value_dim})),
      kernel_(kernel),
      problem_(data.problem()) {
  const auto rows = [&] { return at::empty({data.shape.q_heads, data.shape.q_len}); };
  output_.out = {out.data_ptr<float>(), out.stride(0), out.stride(1), out.stride(2)};
  output_.row_max = (row_max = rows()).data_ptr<float>();
  output_.log_sum = (log_sum = rows()).data_ptr<float>();
  if (everything) want_statistics(data);
  workspace_.emplace(kernel.forward_workspace(problem_, output_, TorchWorkers().workers()));
}

void KernelForward::want_statistics(const AttentionData& data) {
  const auto rows = [&] { return at::empty({data.shape.q_heads, data.shape.q_len}); };
  RowStatistics& s = output_.statistics;
  s.entropy = (entropy = rows()).data_ptr<float>();
  s.max = (max = rows()).data_ptr<float>();
  s.argmax = (argmax = rows().to(at::kInt)).data_ptr<int32_t>();
  s.distance = (distance = rows()).data_ptr<float>();
  s.distance_variance = (variance = rows()).data_ptr<float>();
  s.sink = (sink = rows()).data_ptr<float>();
  s.window = (window = rows()).data_ptr<float>();
  s.sink_tokens = sink_tokens;
  s.window_tokens = window_tokens;
  thumbnails = at::empty({data.shape.q_heads, cells, cells});
  sums = at::empty({data.shape.q_heads, cells, cells}, at::kLong);
  output_.thumbnails = {thumbnails.data_ptr<float>(), cells, (data.shape.kv_len + cells - 1) / cells,
                        sums.data_ptr<int64_t>()};
}

double KernelForward::run() {
  for (at::Tensor* grid : {&thumbnails, &sums}) {
    if (grid->defined()) grid->zero_();  // the caller's part of the contract
  }
  return seconds_of([&] { kernel_.forward(problem_, output_, workspace_->span(), TorchWorkers()); });
}

at::Tensor KernelForward::mean_thumbnails() const {
  const auto places = static_cast<double>(output_.thumbnails.bin * output_.thumbnails.bin);
  return sums.to(at::kDouble).mul_(Thumbnails::sum_unit / places).to(at::kFloat);
}

std::span<const float> numbers(const at::Tensor& tensor) {
  TORCH_INTERNAL_ASSERT(tensor.is_contiguous());
  return {tensor.const_data_ptr<float>(), static_cast<size_t>(tensor.numel())};
}

}  // namespace headscope::cli::bench
