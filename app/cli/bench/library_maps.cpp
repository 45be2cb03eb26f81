#include "app/cli/bench/library_maps.h"

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

}  // namespace headscope::cli::bench
