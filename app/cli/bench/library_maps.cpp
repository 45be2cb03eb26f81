#include "app/cli/bench/library_maps.h"

#include <limits>
#include <numbers>

#include <ATen/ATen.h>

#include "app/cli/bench/library_attention.h"

namespace headscope::cli::bench {

LibraryMaps::LibraryMaps(const AttentionData& data)
    : heads(data.shape.q_heads),
      tokens(data.shape.q_len),
      scale(data.scale()),
      q(data.q.squeeze(0)),
      k(data.k.squeeze(0)) {
  LibraryForward forward(data);
  forward.run();
  minus_lse = forward.lse().neg().unsqueeze(-1);
}

at::Tensor LibraryMaps::weights(const Block& block, double power) const {
  const auto part = [&](const at::Tensor& all) { return all.narrow(0, block.head, block.heads); };
  const auto rows = [&](const at::Tensor& all) { return part(all).narrow(1, block.row, block.rows); };
  const at::Tensor keys = part(k).narrow(1, 0, block.keys()).transpose(1, 2);
  at::Tensor out = at::baddbmm(rows(minus_lse), rows(q), keys, power, power * scale).exp_();
  out.narrow(2, block.row, block.rows).tril_();
  return out;
}

void add_mixtures(at::Tensor& sums, const at::Tensor& halves) {
  const int64_t heads = halves.size(0);
  for (int64_t i = 0; i < heads; ++i) {
    const at::Tensor m = halves.narrow(0, i, heads - i) + halves[i];
    const at::Tensor terms = (m + std::numeric_limits<float>::min()).log_().mul_(m);
    sums[i].narrow(0, i, heads - i).add_(terms.sum(1));
  }
}

at::Tensor divergences_of_mixtures(const at::Tensor& sums, int64_t rows) {
  const at::Tensor own = sums.diagonal(), all = sums + sums.triu(1).t();
  const at::Tensor apart = (own.unsqueeze(0) + own.unsqueeze(1)) / 2 - all;
  return (apart / rows).to(at::kFloat);
}

at::Tensor hellinger_middle(const at::Tensor& affinity, int64_t rows) {
  constexpr double ln2 = std::numbers::ln2;
  const at::Tensor h2 = 1 - affinity / rows;
  return (h2 * ln2 + h2.clamp_max(ln2)) / 2;
}

}  // namespace headscope::cli::bench
