#pragma once

#include <cstdint>

namespace headscope {

enum class DivergenceEstimator {
  exact,      ///< the Jensen-Shannon divergence itself
  hellinger,  ///< the bracket that the Hellinger distance gives: no logarithm, for live use
  sampled,    ///< importance sampling: long inputs
};

/// How far apart the attention rows of every two query heads i, j are: the Jensen-Shannon divergence
///   JSD_ij = mean over rows of H((p_i + p_j) / 2) - (H(p_i) + H(p_j)) / 2, in nats, from 0 (equal) to ln 2 (disjoint),
/// where p is a row of weights exp(score - row_max - log_sum) and H its entropy. The square root is a metric.
///
/// - exact: the value, and bounds that take in all rounding.
/// - hellinger: h2 = 1 - sum sqrt(p_i p_j) has ln 2 * h2 <= JSD <= h2. It holds for the terms of each key, whose ratio
///   goes from 1 at p_i = p_j down to ln 2 where one is 0, and so for means of rows too. The bounds are this bracket,
///   cut at ln 2 and widened by all rounding; the value is the middle of the bracket before it is widened.
/// - sampled: JSD is the mean of ln 2 - h(p_i / (p_i + p_j)), with h(r) = -r ln r - (1 - r) ln(1 - r), over keys drawn
///   from (p_i + p_j) / 2. Each head draws `samples` keys, one each from rows spread evenly over the range. A pair has
///   2 * samples independent terms within [0, ln 2], rounded, so by Hoeffding's inequality (1963) all pairs are within
///   ln 2 * sqrt(ln(2 * pairs / (1 - confidence)) / (4 * samples)) with the probability `confidence`: these are the
///   bounds, widened by all rounding. The work grows with samples * kv_len, not with rows * kv_len.
///
/// An empty row counts as one that puts its weight on a key of its own: 0 between two empty rows, ln 2 between an
/// empty row and any other.
struct DivergenceRequest {
  int64_t batch = 0;
  int64_t row_begin = 0, row_end = 0;  ///< rows of `problem.q`. Callers leave out a row that sees one key only
  DivergenceEstimator estimator = DivergenceEstimator::exact;
  int64_t samples = 4096;    ///< sampled: draws of each head
  uint64_t seed = 0;         ///< sampled: the same seed gives the same draws on every kernel
  double confidence = 0.95;  ///< sampled: that the bounds hold for all pairs at once; above 0, below 1
};

/// Where the results go: each [q_heads, q_heads], nats, lower <= value <= upper, within [0, ln 2], rounded, symmetric to the
/// bit. A head against itself has 0 three times. The pairs of a head that has a NaN row_max or log_sum in the range
/// are NaN, its own place too; other pairs do not notice.
struct DivergenceOutput {
  float* value = nullptr;
  float* lower = nullptr;
  float* upper = nullptr;
};

}  // namespace headscope
