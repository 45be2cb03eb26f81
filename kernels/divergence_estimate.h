#pragma once

#include <cmath>
#include <initializer_list>
#include <numbers>

#include "kernels/attention.h"
#include "kernels/divergence.h"

// nvcc compiles these functions for the GPU, too: kernels there finish their results in its memory.
#ifdef __CUDACC__
#define HEADSCOPE_ANYWHERE __host__ __device__
#else
#define HEADSCOPE_ANYWHERE
#endif

namespace headscope {

// What the divergences of all kernels share: from a mean over rows to a value with bounds, and the random draws.
// Stateless; any thread, of a GPU as well but for check_divergence_request and sampling_half_width.

/// Throws std::invalid_argument for rows or a batch outside the problem, no row, no sample, or a confidence outside
/// (0, 1).
void check_divergence_request(const AttentionProblem&, const DivergenceRequest&);

/// A divergence in nats with its bounds.
struct DivergenceEstimate {
  double value = 0, lower = 0, upper = 0;
};

// How wrong weights move a divergence. Let a head's `root_error` be the L2 norm, over keys and averaged over rows, of
// what its square roots of weights are off: relative errors of d in all weights make d / 2. Both sqrt(h2) and sqrt(JSD)
// are metrics whose squares add up over keys (Endres and Schindelin, IEEE Trans. Inf. Theory 49, 2003), and JSD <= h2,
// so each moves by at most (the sum of both heads' root errors) / sqrt(2). The error is thus of second order where two
// heads are nearly equal. `root_error` below is that sum; NaN in it, or in the mean, makes NaN of all three numbers.

namespace divergence_detail {

constexpr double ln2 = std::numbers::ln2;

HEADSCOPE_ANYWHERE inline bool is_nan(double x) { return x != x; }
HEADSCOPE_ANYWHERE inline double square(double x) { return x * x; }
HEADSCOPE_ANYWHERE inline double at_least(double least, double x) { return least < x ? x : least; }
HEADSCOPE_ANYWHERE inline double at_most(double most, double x) { return x < most ? x : most; }

/// The square of a root that may be off by `error`, downwards and upwards.
HEADSCOPE_ANYWHERE inline double square_below(double root, double error) { return square(at_least(0, root - error)); }
HEADSCOPE_ANYWHERE inline double square_above(double root, double error) { return square(root + error); }

HEADSCOPE_ANYWHERE inline DivergenceEstimate bounded(double value, double lower, double upper) {
  value = at_most(ln2, at_least(0, value));
  return {value, at_most(value, at_least(0, lower)), at_most(ln2, at_least(value, upper))};
}
HEADSCOPE_ANYWHERE inline DivergenceEstimate unknown() {
  const double nan = __builtin_nan("");
  return {nan, nan, nan};
}

HEADSCOPE_ANYWHERE inline float rounded_down(double x) {
  const auto nearest = static_cast<float>(x);
  return double{nearest} > x ? nextafterf(nearest, 0.0F) : nearest;
}
HEADSCOPE_ANYWHERE inline float rounded_up(double x) {
  const auto nearest = static_cast<float>(x);
  return double{nearest} < x ? nextafterf(nearest, 1.0F) : nearest;
}

/// The next number of Steele, Lea and Flood's SplitMix64 (2014): mixes every bit of x into all others.
HEADSCOPE_ANYWHERE inline uint64_t mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15U;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31);
}

/// Uniform in [0, 1); a function of the place alone, so that no thread's draws depend on another's.
HEADSCOPE_ANYWHERE inline double uniform(uint64_t seed, int64_t head, int64_t sample, uint64_t which) {
  const uint64_t place = mix(mix(mix(seed) + static_cast<uint64_t>(head)) + static_cast<uint64_t>(sample));
  return static_cast<double>(mix(place + which) >> 11) * 0x1p-53;
}

}  // namespace divergence_detail

/// From the mean over rows, known to +-sum_error.
HEADSCOPE_ANYWHERE inline DivergenceEstimate exact_divergence(double mean, double root_error, double sum_error) {
  using namespace divergence_detail;
  if (is_nan(mean) || is_nan(root_error)) return unknown();
  const double shift = root_error / std::numbers::sqrt2;
  return bounded(mean, square_below(sqrt(at_least(0, mean - sum_error)), shift),
                 square_above(sqrt(at_least(0, mean) + sum_error), shift));
}

/// From the mean over rows of h2 = sum (sqrt(p) - sqrt(q))^2 / 2, known to the relative sum_error.
HEADSCOPE_ANYWHERE inline DivergenceEstimate hellinger_divergence(double h2, double root_error, double sum_error) {
  using namespace divergence_detail;
  if (is_nan(h2) || is_nan(root_error)) return unknown();
  const double shift = root_error / std::numbers::sqrt2;
  const double middle = (ln2 * h2 + at_most(ln2, h2)) / 2;
  return bounded(middle, ln2 * square_below(sqrt(h2 * (1 - sum_error)), shift),
                 square_above(sqrt(h2 * (1 + sum_error)), shift));
}

/// From the mean of the sampled terms. Wrong weights shift it by the draws they misplace and by the terms they change,
/// together less than 2 ln 2 * root_error.
HEADSCOPE_ANYWHERE inline DivergenceEstimate sampled_divergence(double mean, double root_error, double half_width) {
  using namespace divergence_detail;
  if (is_nan(mean) || is_nan(root_error)) return unknown();
  const double error = half_width + 2 * ln2 * root_error;
  return bounded(mean, mean - error, mean + error);
}

/// Hoeffding's half width for all pairs at once.
double sampling_half_width(const DivergenceRequest&, int64_t q_heads);

/// Writes the estimate to (i, j) and (j, i), bounds rounded outwards. On the diagonal, which is 0 by definition, only
/// NaN is taken over.
HEADSCOPE_ANYWHERE inline void write_divergence(const DivergenceOutput& output, int64_t q_heads, int64_t i, int64_t j,
                                                const DivergenceEstimate& estimate) {
  const bool itself = i == j && !divergence_detail::is_nan(estimate.value);
  for (const int64_t at : {i * q_heads + j, j * q_heads + i}) {
    output.value[at] = itself ? 0.0F : static_cast<float>(estimate.value);
    output.lower[at] = itself ? 0.0F : divergence_detail::rounded_down(estimate.lower);
    output.upper[at] = itself ? 0.0F : divergence_detail::rounded_up(estimate.upper);
  }
}

/// One draw of a head: the row, and the key as the first whose cumulative weight exceeds `target`, in [0, 1). Where
/// rounding leaves a row less than that in total, it is target times the total.
struct DivergenceDraw {
  int64_t row = 0;
  double target = 0;
};

/// Draw number `sample` falls into part number `sample` of the rows, cut into as many equal parts as there are samples.
HEADSCOPE_ANYWHERE inline DivergenceDraw divergence_draw(const DivergenceRequest& request, int64_t head,
                                                         int64_t sample) {
  using divergence_detail::uniform;
  const auto rows = static_cast<double>(request.row_end - request.row_begin);
  const double place =
      (static_cast<double>(sample) + uniform(request.seed, head, sample, 0)) / static_cast<double>(request.samples);
  const int64_t row = request.row_begin + static_cast<int64_t>(place * rows);
  return {row < request.row_end ? row : request.row_end - 1, uniform(request.seed, head, sample, 1)};
}

/// ln 2 - h(p / (p + q)), nats, for weights p > 0 and q >= 0 of one key.
HEADSCOPE_ANYWHERE inline double divergence_term(double p, double q) {
  const double share = p / (p + q), rest = q / (p + q);
  return std::numbers::ln2 + share * log(share) + (rest > 0 ? rest * log(rest) : 0);
}

}  // namespace headscope
