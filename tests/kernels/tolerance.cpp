#include "tests/kernels/tolerance.h"

#include <algorithm>

#include "tests/support/compare.h"

namespace headscope::testing {

Tolerances::Tolerances(const AttentionCase& c, const Results& expected)
    : case_(c), expected_(expected), naive_(naive_attention(c)), backward_(naive_attention(c, {DotOrder::backward})) {}

double Tolerances::of(const NamedArray& array) const {
  const auto &expected = expected_.*array.array, &naive = naive_.results.*array.array;
  const auto& backward = backward_.results.*array.array;
  const double own = std::max(
      {kernel_tolerance(naive, expected), kernel_tolerance(backward, expected), kernel_tolerance(naive, backward)});
  // What rounding takes from the largest score it gives to the rest of the log-sum-exp.
  if (array.array == &Results::log_sum) {
    return std::max(own, 4 * f32_ulp(std::vector{1.0F})) + kernel_tolerance(naive_.results.row_max, expected_.row_max);
  }
  const auto is_any_of = [&](auto... arrays) { return ((array.array == arrays) || ...); };
  if (is_any_of(&Results::max, &Results::sink, &Results::window, &Results::thumbnails)) {
    return std::max(own, of_weights());
  }
  // Sums over weights that add up to 1: where all are tiny, digits are those of 1.
  const bool sum = is_any_of(&Results::entropy, &Results::distance, &Results::distance_variance);
  return sum ? std::max(own, 4 * f32_ulp(std::vector{1.0F})) : own;
}

double Tolerances::of_bf16_output() const {
  return kernel_tolerance(naive_attention(case_, {DotOrder::forward, true}).results.out, expected_.out);
}

/// A few may meet naive weights that are right by luck: what rounding does is seen where two naive maps differ, and
/// digits are those of the largest weight.
double Tolerances::of_weights() const {
  return 2 * largest_difference(std::span(naive_.map), std::span(backward_.map)) + 4 * f32_ulp(expected_.max);
}

}  // namespace headscope::testing
