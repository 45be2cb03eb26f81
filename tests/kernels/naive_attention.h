#pragma once

#include "tests/kernels/attention_case.h"

namespace headscope::testing {

/// The same attention in plain f32, whole map at once, library exp and tanh: how far rounding alone takes a
/// result from the reference. Written apart from the reference, so that the two check each other.
struct NaiveAttention {
  Results results;
  std::vector<float> map;  ///< [batch, q_heads, q_len, kv_len]
};

/// How its dot products are rounded: two equally good ways, which tell more of what rounding does than one.
enum class DotOrder {
  forward,   ///< the first dimension first; scaled in the end; keys rotated in f32
  backward,  ///< the last dimension first, of scaled queries; keys rotated in double
};

struct NaiveOptions {
  DotOrder order = DotOrder::forward;
  bool bf16_weights = false;  ///< out takes exp(score - row_max) rounded to bf16
};

NaiveAttention naive_attention(const AttentionCase& c, NaiveOptions = {});

/// Pools a dense map of one head as a tile request asks, in f32.
std::vector<float> pool_map(const float* map, int64_t kv_len, const TileRequest& request);

}  // namespace headscope::testing
