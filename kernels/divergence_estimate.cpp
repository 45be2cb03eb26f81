#include "kernels/divergence_estimate.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <stdexcept>

namespace headscope {
namespace {

using std::numbers::ln2;

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

double square(double x) { return x * x; }

/// The square of a root that may be off by `error`, downwards and upwards.
double square_below(double root, double error) { return square(std::max(0.0, root - error)); }
double square_above(double root, double error) { return square(root + error); }

DivergenceEstimate bounded(double value, double lower, double upper) {
  value = std::clamp(value, 0.0, ln2);
  return {value, std::clamp(lower, 0.0, value), std::clamp(upper, value, ln2)};
}

/// The next number of Steele, Lea and Flood's SplitMix64 (2014): mixes every bit of x into all others.
uint64_t mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15U;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31);
}

/// Uniform in [0, 1); a function of the place alone, so that no thread's draws depend on another's.
double uniform(uint64_t seed, int64_t head, int64_t sample, uint64_t which) {
  const uint64_t place = mix(mix(mix(seed) + static_cast<uint64_t>(head)) + static_cast<uint64_t>(sample));
  return static_cast<double>(mix(place + which) >> 11) * 0x1p-53;
}

float rounded_down(double x) {
  const auto nearest = static_cast<float>(x);
  return double{nearest} > x ? std::nextafter(nearest, 0.0F) : nearest;
}
float rounded_up(double x) {
  const auto nearest = static_cast<float>(x);
  return double{nearest} < x ? std::nextafter(nearest, 1.0F) : nearest;
}

}  // namespace

void check_divergence_request(const AttentionProblem& p, const DivergenceRequest& request) {
  if (request.batch < 0 || request.batch >= p.batch) throw std::invalid_argument("no such batch to compare heads in");
  if (request.row_begin < 0 || request.row_begin >= request.row_end || request.row_end > p.q_len) {
    throw std::invalid_argument("no such rows to compare heads in");
  }
  if (request.estimator != DivergenceEstimator::sampled) return;
  if (request.samples < 1) throw std::invalid_argument("heads are to be compared by no sample");
  if (!(request.confidence > 0 && request.confidence < 1)) {
    throw std::invalid_argument("the confidence of a sampled divergence is not between 0 and 1");
  }
}

DivergenceEstimate exact_divergence(double mean, double root_error, double sum_error) {
  if (std::isnan(mean) || std::isnan(root_error)) return {nan, nan, nan};
  const double shift = root_error / std::numbers::sqrt2;
  return bounded(mean, square_below(std::sqrt(std::max(0.0, mean - sum_error)), shift),
                 square_above(std::sqrt(std::max(0.0, mean) + sum_error), shift));
}

DivergenceEstimate hellinger_divergence(double h2, double root_error, double sum_error) {
  if (std::isnan(h2) || std::isnan(root_error)) return {nan, nan, nan};
  const double shift = root_error / std::numbers::sqrt2;
  const double middle = (ln2 * h2 + std::min(h2, ln2)) / 2;
  return bounded(middle, ln2 * square_below(std::sqrt(h2 * (1 - sum_error)), shift),
                 square_above(std::sqrt(h2 * (1 + sum_error)), shift));
}

DivergenceEstimate sampled_divergence(double mean, double root_error, double half_width) {
  if (std::isnan(mean) || std::isnan(root_error)) return {nan, nan, nan};
  const double error = half_width + 2 * ln2 * root_error;
  return bounded(mean, mean - error, mean + error);
}

double sampling_half_width(const DivergenceRequest& request, int64_t q_heads) {
  const double pairs = std::max(1.0, static_cast<double>(q_heads) * static_cast<double>(q_heads - 1) / 2);
  const double failing = std::log(2 * pairs / (1 - request.confidence));
  return ln2 * std::sqrt(failing / (4 * static_cast<double>(request.samples)));
}

void write_divergence(const DivergenceOutput& output, int64_t q_heads, int64_t i, int64_t j,
                      const DivergenceEstimate& estimate) {
  const bool itself = i == j && !std::isnan(estimate.value);
  for (const int64_t at : {i * q_heads + j, j * q_heads + i}) {
    output.value[at] = itself ? 0.0F : static_cast<float>(estimate.value);
    output.lower[at] = itself ? 0.0F : rounded_down(estimate.lower);
    output.upper[at] = itself ? 0.0F : rounded_up(estimate.upper);
  }
}

DivergenceDraw divergence_draw(const DivergenceRequest& request, int64_t head, int64_t sample) {
  const auto rows = static_cast<double>(request.row_end - request.row_begin);
  const double place =
      (static_cast<double>(sample) + uniform(request.seed, head, sample, 0)) / static_cast<double>(request.samples);
  const int64_t row = request.row_begin + static_cast<int64_t>(place * rows);
  return {std::min(row, request.row_end - 1), uniform(request.seed, head, sample, 1)};
}

double divergence_term(double p, double q) {
  const double share = p / (p + q), rest = q / (p + q);
  return ln2 + share * std::log(share) + (rest > 0 ? rest * std::log(rest) : 0);
}

}  // namespace headscope
