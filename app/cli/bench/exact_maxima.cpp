#include "app/cli/bench/exact_maxima.h"

#include <limits>

#include <ATen/ATen.h>

namespace headscope::cli::bench {
namespace {

/// Weights of rows [first, first + rows) of one head, [rows, first + rows]: later keys are seen by none of them.
at::Tensor weights(const at::Tensor& q, const at::Tensor& k, int64_t first, int64_t rows, double scale) {
  at::Tensor scores = at::mm(q.narrow(0, first, rows), k.narrow(0, 0, first + rows).t()).mul_(scale);
  const at::Tensor hidden = at::ones_like(scores, at::kBool).triu_(first + 1);
  return at::softmax(scores.masked_fill_(hidden, -std::numeric_limits<double>::infinity()), -1);
}

}  // namespace

ExactMaxima::ExactMaxima(const AttentionData& data, const at::Tensor& argmax) {
  const AttentionShape& shape = data.shape;
  const int64_t cells = KernelForward::cells, tokens = shape.q_len, bin = (tokens + cells - 1) / cells;
  const auto zeros = [&](at::IntArrayRef size) { return at::zeros(size, at::kFloat); };
  max = zeros({shape.q_heads, tokens});
  at_argmax = zeros({shape.q_heads, tokens});
  thumbnails = zeros({shape.q_heads, cells, cells});
  for (int64_t head = 0; head < shape.q_heads; ++head) {
    const at::Tensor q = data.q[0][head].to(at::kDouble);
    const at::Tensor k = data.k[0][head * shape.kv_heads / shape.q_heads].to(at::kDouble);
    for (int64_t first = 0; first < tokens; first += bin) {
      const int64_t rows = std::min(bin, tokens - first);
      const at::Tensor p = weights(q, k, first, rows, data.scale());
      const at::Tensor keys = argmax[head].narrow(0, first, rows).to(at::kLong).unsqueeze(1);
      max[head].narrow(0, first, rows).copy_(p.amax(1));
      at_argmax[head].narrow(0, first, rows).copy_(p.gather(1, keys).squeeze(1));
      const at::Tensor whole = at::constant_pad_nd(p, {0, bin - rows}).view({rows, -1, bin});
      thumbnails[head][first / bin].narrow(0, 0, whole.size(1)).copy_(whole.amax(at::IntArrayRef{0, 2}));
    }
  }
}

}  // namespace headscope::cli::bench
