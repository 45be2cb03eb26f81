#include "kernels/reference/divergence.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/divergence_estimate.h"
#include "kernels/reference/scores.h"

namespace headscope::reference {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// Rows are summed in at most this many parts, whatever the number of workers.
constexpr int64_t most_parts = 64;

double entropy_term(double weight) { return weight == 0 ? 0 : -weight * std::log(weight); }

class Divergence {
 public:
  Divergence(const AttentionProblem& problem, const InputRows& keys, const float* row_max, const float* log_sum,
             const DivergenceRequest& request)
      : p_(problem), keys_(keys), row_max_(row_max), log_sum_(log_sum), request_(request) {}

  /// Places of a row: its keys and one more, where an empty row has its weight.
  static int64_t places(const AttentionProblem& p) { return p.kv_len + 1; }

  int64_t rows() const { return request_.row_end - request_.row_begin; }
  int64_t parts() const {
    return request_.estimator == DivergenceEstimator::sampled ? p_.q_heads : std::min(rows(), most_parts);
  }

  /// Adds to `sums` [q_heads, q_heads] what part number `part` is of the total.
  void add_part(int64_t part, double* weights, double* sums, const std::stop_token& stop) const {
    std::fill_n(sums, p_.q_heads * p_.q_heads, 0.0);
    if (request_.estimator == DivergenceEstimator::sampled) {
      for (int64_t n = 0; n < request_.samples && !stop.stop_requested(); ++n) add_sample(part, n, weights, sums);
      return;
    }
    const int64_t end = request_.row_begin + (part + 1) * rows() / parts();
    for (int64_t row = request_.row_begin + part * rows() / parts(); row < end && !stop.stop_requested(); ++row) {
      for (int64_t head = 0; head < p_.q_heads; ++head) weigh_row(head, row, weights + head * places(p_));
      for (int64_t i = 0; i < p_.q_heads; ++i) {
        for (int64_t j = i; j < p_.q_heads; ++j) {
          sums[i * p_.q_heads + j] += compare(weights + i * places(p_), weights + j * places(p_));
        }
      }
    }
  }

  DivergenceEstimate estimate(int64_t i, int64_t j, const double* sums) const {
    const double error = root_error(i) + root_error(j);
    const double rounding = 0x1p-52 * static_cast<double>(p_.kv_len + rows()) * (1 + std::log(places(p_)));
    const double upper = sums[i * p_.q_heads + j], lower = sums[j * p_.q_heads + i];
    if (request_.estimator == DivergenceEstimator::sampled) {
      return sampled_divergence((upper + lower) / static_cast<double>(2 * request_.samples), error,
                                sampling_half_width(request_, p_.q_heads));
    }
    const double mean = upper / static_cast<double>(rows());
    return request_.estimator == DivergenceEstimator::exact ? exact_divergence(mean, error, rounding)
                                                            : hellinger_divergence(mean, error, rounding);
  }

 private:
  int64_t at(int64_t head, int64_t row) const { return flat(p_, {request_.batch, head, row}); }
  bool empty(int64_t head, int64_t row) const { return double{row_max_[at(head, row)]} == -infinity; }

  double weight(int64_t head, int64_t row, int64_t key) const {
    const Query query{request_.batch, head, row};
    if (empty(head, row)) return key == p_.kv_len ? 1 : 0;
    if (key == p_.kv_len || !is_visible(p_, query, key)) return 0;
    return std::exp(score(p_, keys_, query, key) - double{row_max_[at(head, row)]} - double{log_sum_[at(head, row)]});
  }
  void weigh_row(int64_t head, int64_t row, double* weights) const {
    for (int64_t key = 0; key < places(p_); ++key) weights[key] = weight(head, row, key);
  }

  /// JSD or h2 of two rows.
  double compare(const double* p, const double* q) const {
    double sum = 0;
    for (int64_t k = 0; k < places(p_); ++k) {
      if (request_.estimator == DivergenceEstimator::exact) {
        sum += entropy_term((p[k] + q[k]) / 2) - (entropy_term(p[k]) + entropy_term(q[k])) / 2;
      } else {
        const double apart = std::sqrt(p[k]) - std::sqrt(q[k]);
        sum += apart * apart / 2;
      }
    }
    return sum;
  }

  /// Draws one key of a head and adds the term of each other head to row `head` of the sums.
  void add_sample(int64_t head, int64_t sample, double* weights, double* sums) const {
    const DivergenceDraw draw = divergence_draw(request_, head, sample);
    weigh_row(head, draw.row, weights);
    const int64_t key = pick(weights, draw.target);
    for (int64_t other = 0; other < p_.q_heads; ++other) {
      sums[head * p_.q_heads + other] += divergence_term(weights[key], weight(other, draw.row, key));
    }
  }
  int64_t pick(const double* weights, double target) const {
    double total = 0, sum = 0;
    for (int64_t k = 0; k < places(p_); ++k) total += weights[k];
    if (target >= total) target *= total;
    for (int64_t k = 0; k < places(p_); ++k) {
      sum += weights[k];
      if (sum > target) return k;
    }
    return p_.kv_len;  // NaN
  }

  /// Scores are as good as exact here; what is left is that log_sum is a float.
  double root_error(int64_t head) const {
    double largest = 0;
    for (int64_t row = request_.row_begin; row < request_.row_end; ++row) {
      if (std::isnan(row_max_[at(head, row)]) || std::isnan(log_sum_[at(head, row)])) return std::nan("");
      largest = std::max(largest, std::abs(double{log_sum_[at(head, row)]}));
    }
    return 0x1p-25 * (1 + largest);
  }

  const AttentionProblem& p_;
  const InputRows& keys_;
  const float* row_max_;
  const float* log_sum_;
  const DivergenceRequest& request_;
};

size_t sums_bytes(const AttentionProblem& p) { return static_cast<size_t>(p.q_heads * p.q_heads) * sizeof(double); }
size_t all_sums_bytes(const AttentionProblem& p) {
  return aligned(sums_bytes(p) * static_cast<size_t>(std::max(most_parts, p.q_heads)));
}
size_t weights_bytes(const AttentionProblem& p) {
  return aligned(static_cast<size_t>(p.q_heads * Divergence::places(p)) * sizeof(double));
}

}  // namespace

size_t divergence_workspace(const AttentionProblem& p, const DivergenceRequest&, int workers) {
  return rotated_keys_bytes(p) + all_sums_bytes(p) + weights_bytes(p) * static_cast<size_t>(workers);
}

bool divergence(const AttentionProblem& p, const float* row_max, const float* log_sum, const DivergenceRequest& request,
                const DivergenceOutput& output, std::span<std::byte> workspace, const ParallelFor& parallel,
                std::stop_token stop) {
  check_divergence_request(p, request);
  const InputRows keys = keys_of(p, workspace.data(), parallel);
  auto* sums = reinterpret_cast<double*>(workspace.data() + rotated_keys_bytes(p));
  std::byte* scratch = workspace.data() + rotated_keys_bytes(p) + all_sums_bytes(p);
  const Divergence work(p, keys, row_max, log_sum, request);
  const int64_t size = p.q_heads * p.q_heads;
  parallel.run(work.parts(), [&](int64_t part, int worker) {
    auto* weights = reinterpret_cast<double*>(scratch + static_cast<size_t>(worker) * weights_bytes(p));
    work.add_part(part, weights, sums + part * size, stop);
  });
  if (stop.stop_requested()) return false;
  for (int64_t part = 1; part < work.parts(); ++part) {
    for (int64_t i = 0; i < size; ++i) sums[i] += sums[part * size + i];
  }
  for (int64_t i = 0; i < p.q_heads; ++i) {
    for (int64_t j = i; j < p.q_heads; ++j) write_divergence(output, p.q_heads, i, j, work.estimate(i, j, sums));
  }
  return true;
}

}  // namespace headscope::reference
