#pragma once

#include <optional>
#include <vector>

#include "core/arch/architecture.h"
#include "core/data/on_device.h"

namespace headscope {

/// What the architecture says of the attention of one layer: heads, dimensions, scale, window, soft cap. The caller
/// adds lengths, the offset, the views of Q, K and V, and the position bias.
AttentionProblem layer_problem(const Architecture&, int64_t layer);

/// What ALiBi adds to the score of one key; 0 for other models.
double position_score(const Architecture&, int64_t head, int64_t key);

/// The same for some heads, as kernels of a device take it; nothing for other models.
class PositionBias {
 public:
  PositionBias(const Architecture&, int64_t first_head, int64_t heads, int64_t keys, const Device& = *host(),
               void* stream = nullptr);
  PositionBias(const PositionBias&) = delete;
  PositionBias& operator=(const PositionBias&) = delete;
  /// Points the problem, whose heads these are and whose kv_len is `keys`, at it. Must outlive the call.
  void add_to(AttentionProblem&) const;

 private:
  std::vector<float> slopes_;     ///< [heads]; multiplies the key position
  std::vector<float> key_terms_;  ///< [heads, keys], where the products are rounded and slopes do not say them
  std::optional<OnDevice<float>> slopes_there_, key_terms_there_;
};

}  // namespace headscope
