#pragma once

#include <vector>

#include "core/arch/architecture.h"

namespace headscope {

/// The angle per token of every rotated pair, radians, [dims / 2]: theta_j = base^(-2j / dims), changed by the
/// scaling (kv-variants.md 3.0, 3.4):
///   linear: theta_j / factor
///   llama3: with the wavelength w = 2 pi / theta_j and the original context c, theta_j / factor where
///     w > c / low_freq_factor, theta_j where w < c / high_freq_factor, and in the band between the two the mean of
///     both weighted by t = (c / w - low_freq_factor) / (high_freq_factor - low_freq_factor).
///   yarn (arXiv 2309.00071): theta_j / factor from dimension `high` up, theta_j below `low`, a line in between; both
///   are
///     the dimension that turns beta_slow (high) or beta_fast (low) times in the original context, rounded outwards.
///   dynamic (NTK): of `tokens` tokens, of which more than the original context c make the base
///     base * (factor * tokens / c - (factor - 1))^(dims / (dims - 2)); up to c it is plain rope.
/// Computed in double. Throws Error for sizes that make no sense and for values that leave the range of double.
std::vector<double> rope_inverse_frequencies(const Rope&, int64_t tokens = 0);

/// "none", "linear", "llama3", "yarn", "dynamic".
std::string_view rope_scaling_name(RopeScaling::Kind);

}  // namespace headscope
