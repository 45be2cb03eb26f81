#pragma once

#include "kernels/attention.h"
#include "kernels/divergence.h"

namespace headscope {

// What the divergences of all kernels share: from a mean over rows to a value with bounds, and the random draws.
// Stateless; any thread.

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

/// From the mean over rows, known to +-sum_error.
DivergenceEstimate exact_divergence(double mean, double root_error, double sum_error);

/// From the mean over rows of h2 = sum (sqrt(p) - sqrt(q))^2 / 2, known to the relative sum_error.
DivergenceEstimate hellinger_divergence(double h2, double root_error, double sum_error);

/// From the mean of the sampled terms. Wrong weights shift it by the draws they misplace and by the terms they change,
/// together less than 2 ln 2 * root_error.
DivergenceEstimate sampled_divergence(double mean, double root_error, double half_width);

/// Hoeffding's half width for all pairs at once.
double sampling_half_width(const DivergenceRequest&, int64_t q_heads);

/// Writes the estimate to (i, j) and (j, i), bounds rounded outwards. On the diagonal, which is 0 by definition, only
/// NaN is taken over.
void write_divergence(const DivergenceOutput&, int64_t q_heads, int64_t i, int64_t j, const DivergenceEstimate&);

/// One draw of a head: the row, and the key as the first whose cumulative weight exceeds `target`, in [0, 1). Where
/// rounding leaves a row less than that in total, it is target times the total.
struct DivergenceDraw {
  int64_t row = 0;
  double target = 0;
};

/// Draw number `sample` falls into part number `sample` of the rows, cut into as many equal parts as there are samples.
DivergenceDraw divergence_draw(const DivergenceRequest&, int64_t head, int64_t sample);

/// ln 2 - h(p / (p + q)), nats, for weights p > 0 and q >= 0 of one key.
double divergence_term(double p, double q);

}  // namespace headscope
