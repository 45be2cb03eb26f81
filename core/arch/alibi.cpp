#include "core/arch/alibi.h"

#include <bit>
#include <cmath>

#include "core/arch/architecture.h"
#include "core/base/error.h"

namespace headscope {

std::vector<double> alibi_slopes(int64_t heads) {
  if (heads < 1 || heads > limits::heads) fail("alibi needs 1 to {} heads, but got {}", limits::heads, heads);
  const auto power = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(heads)));
  std::vector<double> slopes;
  slopes.reserve(static_cast<size_t>(heads));
  for (int64_t h = 0; h < heads; ++h) {
    const bool first = h < power;
    const int64_t numerator = first ? h + 1 : 2 * (h - power) + 1;
    const int64_t count = first ? power : 2 * power;
    slopes.push_back(std::exp2(-8.0 * static_cast<double>(numerator) / static_cast<double>(count)));
  }
  return slopes;
}

}  // namespace headscope
