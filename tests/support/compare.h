#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace headscope::testing {

// The one comparer of numbers in the tests. Every decision is written !(error <= tolerance), so that NaN fails.

/// |actual - expected|; 0 for equal infinities, NaN as soon as one of them is NaN.
inline double difference(double actual, double expected) {
  return actual == expected ? 0 : std::abs(actual - expected);
}

/// The largest difference; NaN if there is one anywhere, infinity if the lengths differ.
template <class Actual, class Expected>
double largest_difference(std::span<const Actual> actual, std::span<const Expected> expected) {
  if (actual.size() != expected.size()) return std::numeric_limits<double>::infinity();
  double largest = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double error = difference(static_cast<double>(actual[i]), static_cast<double>(expected[i]));
    if (!(error <= largest)) largest = error;
    if (std::isnan(largest)) return largest;
  }
  return largest;
}

/// Passes when every element is within `tolerance`; the message names the first that is not.
template <class Actual, class Expected>
::testing::AssertionResult all_near(std::span<const Actual> actual, std::span<const Expected> expected,
                                    double tolerance) {
  if (actual.size() != expected.size()) {
    return ::testing::AssertionFailure() << actual.size() << " values, expected " << expected.size();
  }
  if (!(tolerance >= 0)) return ::testing::AssertionFailure() << "the tolerance itself is " << tolerance;
  size_t wrong = 0, first = 0;
  for (size_t i = actual.size(); i-- > 0;) {
    if (!(difference(static_cast<double>(actual[i]), static_cast<double>(expected[i])) <= tolerance))
      ++wrong, first = i;
  }
  if (wrong == 0) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << wrong << " of " << actual.size() << " values are off; the first is [" << first
                                       << "]: " << actual[first] << ", expected " << expected[first] << " within "
                                       << tolerance;
}

template <class Actual, class Expected>
::testing::AssertionResult all_near(const std::vector<Actual>& actual, const std::vector<Expected>& expected,
                                    double tolerance) {
  return all_near(std::span<const Actual>(actual), std::span<const Expected>(expected), tolerance);
}

/// Passes when both hold the same bits (NaN equals itself, 0 differs from -0).
template <class T>
::testing::AssertionResult same_bits(const std::vector<T>& actual, const std::vector<T>& expected) {
  if (actual.size() != expected.size()) {
    return ::testing::AssertionFailure() << actual.size() << " values, expected " << expected.size();
  }
  for (size_t i = 0; i < actual.size(); ++i) {
    if (std::equal(reinterpret_cast<const char*>(&actual[i]), reinterpret_cast<const char*>(&actual[i] + 1),
                   reinterpret_cast<const char*>(&expected[i]))) {
      continue;
    }
    return ::testing::AssertionFailure() << "[" << i << "] is " << actual[i] << ", expected the bits of "
                                         << expected[i];
  }
  return ::testing::AssertionSuccess();
}

/// Spacing of f32 numbers at the largest finite magnitude among `values`.
inline double f32_ulp(std::span<const float> values) {
  float largest = 0;
  for (const float value : values) {
    if (std::isfinite(value)) largest = std::max(largest, std::abs(value));
  }
  return double{std::nextafter(largest, std::numeric_limits<float>::infinity())} - double{largest};
}

/// How far a kernel may be from the reference: twice as far as a naive f32 computation of the same thing is,
/// and four spacings of the largest value.
inline double kernel_tolerance(const std::vector<float>& naive, const std::vector<float>& reference) {
  return 2 * largest_difference(std::span<const float>(naive), std::span<const float>(reference)) +
         4 * f32_ulp(reference);
}

}  // namespace headscope::testing
