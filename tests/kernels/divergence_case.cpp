#include "tests/kernels/divergence_case.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "tests/kernels/naive_attention.h"
#include "tests/kernels/rotated_keys.h"
#include "tests/support/compare.h"

namespace headscope::testing {
namespace {

using std::numbers::ln2;

/// A row of the map in double, and one place more, where an empty row has its weight.
std::vector<double> dense_row(const AttentionProblem& p, int64_t batch, int64_t head, int64_t row) {
  const int64_t position = row + p.causal_offset;
  const float* weights = p.key_log_weight ? p.key_log_weight + head * p.kv_len : nullptr;
  std::vector<double> map(static_cast<size_t>(p.kv_len + 1));
  std::vector<int64_t> keys;
  double largest = -1e300, sum = 0;
  for (int64_t key = p.first_key; key < p.kv_len; ++key) {
    const bool later = p.causal && key > position, gone = p.window > 0 && key + p.window <= position;
    if (later || gone || (weights && std::isinf(weights[key]))) continue;
    double s = 0;
    for (int64_t d = p.key_dim; d-- > 0;) {
      s += double{p.q.at(batch, head, row, d)} *
           double{p.k.at(batch, head * p.kv_heads / p.q_heads, key - p.first_key, d)};
    }
    s *= double{p.scale};
    if (p.soft_cap > 0) s = std::tanh(s / double{p.soft_cap}) * double{p.soft_cap};
    if (p.alibi_slopes) s += double{p.alibi_slopes[head]} * static_cast<double>(key - position);
    if (weights) s += double{weights[key]};
    map[static_cast<size_t>(key)] = s;
    keys.push_back(key);
    largest = std::max(largest, s);
  }
  if (keys.empty()) map.back() = 1;
  for (const int64_t key : keys)
    sum += map[static_cast<size_t>(key)] = std::exp(map[static_cast<size_t>(key)] - largest);
  for (const int64_t key : keys) map[static_cast<size_t>(key)] /= sum;
  return map;
}

double divergence_of(const std::vector<double>& p, const std::vector<double>& q) {
  double sum = 0;
  for (size_t k = 0; k < p.size(); ++k) {
    if (p[k] > 0) sum += p[k] * std::log(2 * p[k] / (p[k] + q[k])) / 2;
    if (q[k] > 0) sum += q[k] * std::log(2 * q[k] / (p[k] + q[k])) / 2;
  }
  return sum;
}

double affinity_of(const std::vector<double>& p, const std::vector<double>& q) {
  double sum = 0;
  for (size_t k = 0; k < p.size(); ++k) sum += std::sqrt(p[k] * q[k]);
  return sum;
}

float naive_entropy(const float* p, const float* q, size_t count) {
  float entropy = 0;
  for (size_t k = 0; k < count; ++k) {
    const float m = (p[k] + q[k]) / 2;
    if (m > 0) entropy -= m * std::log(m);
  }
  return entropy;
}

float naive_h2(const float* p, const float* q, size_t count) {
  float h2 = 0;
  for (size_t k = 0; k < count; ++k) {
    const float apart = std::sqrt(p[k]) - std::sqrt(q[k]);
    h2 += apart * apart / 2;
  }
  return h2;
}

/// Fills what is below the diagonal.
template <class Real>
void mirror(DenseDivergences<Real>& d, size_t heads) {
  for (size_t i = 0; i < heads; ++i) {
    for (size_t j = 0; j < i; ++j) {
      d.exact[i * heads + j] = d.exact[j * heads + i];
      d.h2[i * heads + j] = d.h2[j * heads + i];
    }
  }
}

void expect_promises(const Divergences& d, int64_t heads) {
  for (int64_t i = 0; i < heads; ++i) {
    for (int64_t j = 0; j < heads; ++j) {
      const auto at = static_cast<size_t>(i * heads + j), mirror = static_cast<size_t>(j * heads + i);
      SCOPED_TRACE("heads " + std::to_string(i) + ", " + std::to_string(j));
      for (const auto* array : {&d.value, &d.lower, &d.upper}) {
        const float a = (*array)[at], b = (*array)[mirror];
        ASSERT_TRUE(a == b || (std::isnan(a) && std::isnan(b))) << "not symmetric";
        ASSERT_TRUE(i != j || a == 0 || std::isnan(a)) << a;
      }
      if (std::isnan(d.value[at])) {
        ASSERT_TRUE(std::isnan(d.lower[at]) && std::isnan(d.upper[at]));
        continue;
      }
      ASSERT_TRUE(0 <= d.lower[at] && d.lower[at] <= d.value[at] && d.value[at] <= d.upper[at] &&
                  d.upper[at] <= static_cast<float>(ln2))
          << d.value[at] << " in [" << d.lower[at] << ", " << d.upper[at] << "]";
    }
  }
}

}  // namespace

DivergenceRequest divergence_request(const AttentionProblem& problem, DivergenceEstimator estimator) {
  DivergenceRequest request;
  request.batch = problem.batch - 1;
  request.row_begin = problem.q_len > 1 ? 1 : 0;
  request.row_end = problem.q_len;
  request.estimator = estimator;
  return request;
}

Divergences run_divergence(const AttentionKernel& kernel, const AttentionProblem& problem, const Results& forward,
                           const DivergenceRequest& request, const ParallelFor& parallel) {
  const auto size = static_cast<size_t>(problem.q_heads * problem.q_heads);
  Guarded<float> value(size), lower(size), upper(size);
  Guarded<std::byte> workspace(kernel.divergence_workspace(problem, request, parallel.workers()));
  EXPECT_TRUE(kernel.divergence(problem, forward.row_max.data(), forward.log_sum.data(), request,
                                {value.data(), lower.data(), upper.data()}, workspace.span(), parallel, {}));
  EXPECT_TRUE(value.intact() && lower.intact() && upper.intact()) << "wrote beside an output";
  EXPECT_TRUE(workspace.intact()) << "wrote beside the workspace";
  const auto copied = [](Guarded<float>& from) { return std::vector<float>(from.data(), from.data() + from.size()); };
  const Divergences result{copied(value), copied(lower), copied(upper)};
  expect_promises(result, problem.q_heads);
  return result;
}

Divergences run_divergence(const AttentionKernel& kernel, const AttentionCase& c, const DivergenceRequest& request,
                           const ParallelFor& parallel) {
  return run_divergence(kernel, c.problem, run_forward(kernel, c, parallel), request, parallel);
}

DenseDivergences<double> dense_divergences(const AttentionProblem& problem, const DivergenceRequest& request) {
  const std::vector<float> keys = rotated_keys<double>(problem);
  const AttentionProblem p = with_keys(problem, keys);
  const auto heads = static_cast<size_t>(p.q_heads);
  DenseDivergences<double> sums{std::vector<double>(heads * heads), std::vector<double>(heads * heads)};
  const auto rows = static_cast<double>(request.row_end - request.row_begin);
  for (int64_t row = request.row_begin; row < request.row_end; ++row) {
    std::vector<std::vector<double>> maps;
    for (int64_t head = 0; head < p.q_heads; ++head) maps.push_back(dense_row(p, request.batch, head, row));
    for (size_t i = 0; i < heads; ++i) {
      for (size_t j = i; j < heads; ++j) {
        sums.exact[i * heads + j] += divergence_of(maps[i], maps[j]) / rows;
        sums.h2[i * heads + j] += (1 - affinity_of(maps[i], maps[j])) / rows;
      }
    }
  }
  mirror(sums, heads);
  return sums;
}

DenseDivergences<float> naive_divergences(const AttentionCase& c, const DivergenceRequest& request) {
  const AttentionProblem& p = c.problem;
  const NaiveAttention naive = naive_attention(c);
  const auto heads = static_cast<size_t>(p.q_heads), keys = static_cast<size_t>(p.kv_len);
  DenseDivergences<float> sums{std::vector<float>(heads * heads), std::vector<float>(heads * heads)};
  const auto rows = static_cast<float>(request.row_end - request.row_begin);
  for (int64_t row = request.row_begin; row < request.row_end; ++row) {
    const auto map = [&](size_t head) {
      return naive.map.data() + ((static_cast<size_t>(request.batch) * heads + head) * static_cast<size_t>(p.q_len) +
                                 static_cast<size_t>(row)) *
                                    keys;
    };
    std::vector<float> entropy;
    std::vector<bool> empty;
    for (size_t i = 0; i < heads; ++i) {
      entropy.push_back(naive_entropy(map(i), map(i), keys));
      empty.push_back(*std::max_element(map(i), map(i) + keys) == 0);
    }
    for (size_t i = 0; i < heads; ++i) {
      for (size_t j = i; j < heads; ++j) {
        const float one_empty = empty[i] == empty[j] ? 0.0F : 0.5F;
        const float joint = naive_entropy(map(i), map(j), keys) + one_empty * static_cast<float>(ln2);
        sums.exact[i * heads + j] += joint - (entropy[i] + entropy[j]) / 2;
        sums.h2[i * heads + j] += naive_h2(map(i), map(j), keys) + one_empty;
      }
    }
  }
  mirror(sums, heads);
  for (float& sum : sums.exact) sum /= rows;
  for (float& sum : sums.h2) sum /= rows;
  return sums;
}

double middle_of_bracket(double h2) { return (ln2 * h2 + std::min(h2, ln2)) / 2; }

}  // namespace headscope::testing
