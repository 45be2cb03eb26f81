#include "kernels/divergence_estimate.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <stdexcept>

namespace headscope {

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

double sampling_half_width(const DivergenceRequest& request, int64_t q_heads) {
  const double pairs = std::max(1.0, static_cast<double>(q_heads) * static_cast<double>(q_heads - 1) / 2);
  const double failing = std::log(2 * pairs / (1 - request.confidence));
  return std::numbers::ln2 * std::sqrt(failing / (4 * static_cast<double>(request.samples)));
}

}  // namespace headscope
