#include "app/cli/bench/library_attention.h"

#include <ATen/ATen.h>

namespace headscope::cli::bench {
namespace {

constexpr int64_t window_rows = KernelForward::window_tokens;
constexpr int64_t leading = 3;  ///< functions of the key before the bins: position, its square, sink

}  // namespace

LibraryForward::LibraryForward(const AttentionData& data)
    : shape_(data.shape),
      scale_(data.scale()),
      q_(data.q),
      k_(data.k.repeat_interleave(shape_.q_heads / shape_.kv_heads, 1)),
      v_(at::constant_pad_nd(data.v, {0, shape_.key_dim - shape_.value_dim})
             .repeat_interleave(shape_.q_heads / shape_.kv_heads, 1)) {}

std::tuple<at::Tensor, at::Tensor> LibraryForward::attend(const at::Tensor& values) const {
  return at::_scaled_dot_product_flash_attention_for_cpu(q_, k_, values, 0, true, {}, scale_);
}

double LibraryForward::run() {
  return seconds_of([&] { std::tie(out_, lse_) = attend(v_); });
}

at::Tensor LibraryForward::out() const { return out_.narrow(-1, 0, shape_.value_dim).to(at::kFloat).contiguous(); }

at::Tensor LibraryForward::lse() const { return lse_.reshape({shape_.q_heads, shape_.q_len}).contiguous(); }

LibraryStatistics::LibraryStatistics(const AttentionData& data) : LibraryForward(data) {
  const int64_t keys = shape_.kv_len, cells = KernelForward::cells, dim = shape_.key_dim;
  bin_ = (keys + cells - 1) / cells;
  const at::Tensor index = at::arange(keys), position = (index.to(at::kDouble) / static_cast<double>(keys)) - 0.5;
  at::Tensor columns = at::zeros({keys, (leading + cells + dim - 1) / dim * dim});
  columns.select(1, 0).copy_(position);
  columns.select(1, 1).copy_(position * position);
  columns.select(1, 2).copy_(index < KernelForward::sink_tokens);
  columns.scatter_(1, (at::floor_divide(index, bin_) + leading).unsqueeze(1), 1.0 / static_cast<double>(bin_));
  for (const at::Tensor& part : columns.split(dim, 1)) {
    functions_.push_back(part.contiguous().expand({1, shape_.q_heads, keys, dim}));
  }
  positions_ = position.to(at::kFloat);
  const at::Tensor row = at::arange(window_rows).unsqueeze(1), column = at::arange(2 * window_rows).unsqueeze(0);
  near_ = (column > row).logical_and(column <= row + window_rows).to(at::kFloat);
}

/// P applied to all functions of the key: [heads, rows, functions].
at::Tensor LibraryStatistics::by_key() const {
  std::vector<at::Tensor> parts;
  for (const at::Tensor& values : functions_) parts.push_back(std::get<0>(attend(values)).squeeze(0));
  return parts.size() == 1 ? parts.front() : at::cat(parts, -1);
}

/// Rows in blocks of one window's length see their own block and the one before it.
at::Tensor LibraryStatistics::window_mass() const {
  const int64_t heads = shape_.q_heads, blocks = shape_.q_len / window_rows;
  const at::Tensor rows = q_.squeeze(0).view({heads, blocks, window_rows, shape_.key_dim});
  const at::Tensor keys =
      at::constant_pad_nd(k_.squeeze(0), {0, 0, window_rows, 0}).unfold(1, 2 * window_rows, window_rows);
  at::Tensor weights = at::matmul(rows, keys).mul_(scale_);
  weights.sub_(lse_.reshape({heads, blocks, window_rows, 1})).exp_().mul_(near_);
  weights.select(1, 0).narrow(-1, 0, window_rows).zero_();  // there are no keys before the first
  return weights.sum(-1).view({heads, shape_.q_len});
}

void LibraryStatistics::compute() {
  std::tie(out_, lse_) = attend(v_);
  const at::Tensor mean_key = std::get<0>(attend(k_));
  const at::Tensor lse = lse_.reshape({shape_.q_heads, shape_.q_len});
  entropy = lse - (q_ * mean_key).sum(-1).squeeze(0).mul_(scale_);
  const at::Tensor all = by_key(), mean = all.select(-1, 0);
  const auto keys = static_cast<double>(shape_.kv_len);
  distance = (positions_ - mean).mul_(keys);
  variance = (all.select(-1, 1) - mean * mean).mul_(keys * keys);
  sink = all.select(-1, 2).contiguous();
  const int64_t cells = KernelForward::cells;
  at::Tensor pooled = all.narrow(-1, leading, cells);
  if (shape_.q_len % bin_ != 0) pooled = at::constant_pad_nd(pooled, {0, 0, 0, bin_ - shape_.q_len % bin_});
  thumbnails = pooled.unflatten(1, {-1, bin_}).mean(2);
  window = window_mass();
}

double LibraryStatistics::run() {
  return seconds_of([&] { compute(); });
}

}  // namespace headscope::cli::bench
