#include "app/cli/bench/compare.h"

#include <algorithm>
#include <cmath>

#include "core/base/error.h"

namespace headscope::cli::bench {

Difference require_equal(std::string_view result, std::span<const float> ours, std::span<const float> theirs,
                         double tolerance) {
  if (ours.size() != theirs.size()) {
    fail("{}: ours has {} numbers and the library's {}, so they cannot be compared", result, ours.size(),
         theirs.size());
  }
  Difference found{std::string(result), 0, 0, tolerance};
  for (size_t i = 0; i < ours.size(); ++i) {
    const double difference = std::abs(static_cast<double>(ours[i]) - static_cast<double>(theirs[i]));
    found.scale = std::max(found.scale, std::abs(static_cast<double>(theirs[i])));
    if (!(difference <= found.largest)) found.largest = difference;
    if (std::isnan(difference)) break;  // later ones would hide it
  }
  if (!found.within()) {
    fail("{} of ours and of the library differ by {:.3g} of {:.3g}, and {:.1g} of that is allowed: nothing was timed",
         result, found.largest, found.scale, tolerance);
  }
  return found;
}

const Difference& nearest_to_its_tolerance(const std::vector<Difference>& all) {
  return *std::max_element(all.begin(), all.end(), [](const Difference& a, const Difference& b) {
    return a.relative() / a.tolerance < b.relative() / b.tolerance;
  });
}

}  // namespace headscope::cli::bench
