#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace headscope::cli::bench {

/// How far two computations of the same result lie apart.
struct Difference {
  std::string result;    ///< "entropy"
  double largest = 0;    ///< |ours - theirs|, in the result's unit
  double scale = 0;      ///< the largest |theirs|
  double tolerance = 0;  ///< of largest / scale
  double relative() const { return scale > 0 ? largest / scale : largest; }
  bool within() const { return relative() <= tolerance; }  ///< false for NaN
};

/// The difference of `ours` and `theirs`, numbers of equal count. Throws Error when it is above the tolerance or not a
/// number: a benchmark that times a wrong answer is worth nothing.
Difference require_equal(std::string_view result, std::span<const float> ours, std::span<const float> theirs,
                         double tolerance);

/// The one that uses most of its tolerance; there is at least one.
const Difference& nearest_to_its_tolerance(const std::vector<Difference>&);

}  // namespace headscope::cli::bench
