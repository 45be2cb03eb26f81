#pragma once

#include <cstdint>
#include <vector>

namespace headscope {

/// The slopes of ALiBi, [heads]: 2^(-8 (h + 1) / p) for the first p heads, p the largest power of two that is not
/// above `heads`; the remaining heads take every other slope of 2p heads, from the first (kv-variants.md 3.3).
/// Not divided by sqrt(head size): families that add the bias before scaling do that. Throws Error unless
/// 1 <= heads <= limits::heads.
std::vector<double> alibi_slopes(int64_t heads);

}  // namespace headscope
