#pragma once

#include <optional>

#include "core/arch/architecture.h"
#include "core/arch/config_reader.h"

namespace headscope {

/// How a family spells its rope and what an absent key means.
struct RopeSpelling {
  ConfigKey base_key = "rope_theta";
  std::optional<ConfigKey> partial_key = {};  ///< of older configs, beside partial_rotary_factor
  double base = 10000;                        ///< when not given
  double partial = 1;                         ///< share of a head's dimensions that is rotated, when not given
  bool partial_allowed = false;
  /// Models with two ropes: the part of rope_parameters that has this one.
  std::optional<ConfigKey> part = {};
  bool old_scaling = true;  ///< rope_scaling of transformers 4 is about this one
};

/// The rope of heads of `head_dim`, rotate-half, as transformers 4 writes it (rope_theta, rope_scaling) or transformers
/// 5 (rope_parameters). Throws Error for scalings other than those of RopeScaling, naming them.
Rope read_rope(const ConfigReader&, const RopeSpelling&, int64_t head_dim, int64_t context);

/// What DeepSeek multiplies scores by when its rope is scaled: (0.1 mscale_all_dim ln(factor) + 1)^2, and 1 without
/// mscale_all_dim.
double read_score_factor(const ConfigReader&, const RopeSpelling&);

/// Dynamic scaling is for more tokens than max_position_embeddings says: the context becomes `factor` times that, and
/// a note says what such runs are. Leaves other models as they are.
void lengthen_context(Architecture&, std::vector<std::string>& notes);

}  // namespace headscope
