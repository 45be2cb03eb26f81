// The divergences of all head pairs, compiled once per vector target.
#if defined(HEADSCOPE_DIVERGENCE_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_DIVERGENCE_INL
#undef HEADSCOPE_DIVERGENCE_INL
#else
#define HEADSCOPE_DIVERGENCE_INL
#endif

#include <cmath>
#include <numbers>

#include "kernels/cpu/divergence_rows-inl.h"
#include "kernels/cpu/divergence_sample-inl.h"
#include "kernels/cpu/weight_error-inl.h"
#include "kernels/divergence_estimate.h"
#include "kernels/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::cpu::HWY_NAMESPACE {

/// The means over rows -> the results.
inline void write_row_divergences(const DivergenceRequest& request, const DivergencePlan& plan, const double* sums,
                                  const double* root_errors, const DivergenceOutput& output) {
  const double rows = static_cast<double>(plan.rows), rounding = pair_roundings * 0x1p-24;
  for (int64_t i = 0; i < plan.heads; ++i) {
    for (int64_t j = i; j < plan.heads; ++j) {
      const double pair = sums[plan.pair_row(i) + j - i] / rows, error = root_errors[i] + root_errors[j];
      if (request.estimator == DivergenceEstimator::hellinger) {
        write_divergence(output, plan.heads, i, j, hellinger_divergence(pair / 2, error, rounding));
        continue;
      }
      const double apart = (sums[plan.pair_row(i)] + sums[plan.pair_row(j)]) / (2 * rows);
      const double sum_error = rounding * std::numbers::ln2 * (std::abs(pair) + std::abs(apart));
      write_divergence(output, plan.heads, i, j,
                       exact_divergence(std::numbers::ln2 * (apart - pair), error, sum_error));
    }
  }
}

inline void write_sampled_divergences(const DivergenceRequest& request, int64_t heads, const double* sums,
                                      const double* root_errors, const DivergenceOutput& output) {
  const double half_width = sampling_half_width(request, heads);
  for (int64_t i = 0; i < heads; ++i) {
    for (int64_t j = i; j < heads; ++j) {
      const double mean = (sums[i * heads + j] + sums[j * heads + i]) / static_cast<double>(2 * request.samples);
      write_divergence(output, heads, i, j, sampled_divergence(mean, root_errors[i] + root_errors[j], half_width));
    }
  }
}

/// Memory of a call: what all workers share, and how much each has of its own.
struct DivergenceMemory {
  double* root_errors;  ///< [q_heads]
  double* sums;         ///< [tasks][pairs] of rows, [q_heads][runs][q_heads] of samples
  size_t shared_bytes, worker_bytes;

  DivergenceMemory(const CpuProblem& p, const DivergenceRequest& request, std::byte* base) {
    Carver shared(base), worker;
    root_errors = shared.take<double>(p.q_heads);
    if (request.estimator == DivergenceEstimator::sampled) {
      const SamplePlan plan(p, request);
      sums = shared.take<double>(plan.tasks() * p.q_heads);
      SampleScratch::carve(worker, p);
    } else {
      const DivergencePlan plan(p, request);
      sums = shared.take<double>(plan.tasks * plan.pairs);
      DivergenceScratch::carve(worker, p, plan);
    }
    shared_bytes = shared.bytes();
    worker_bytes = worker.bytes();
  }
};

inline size_t divergence_workspace(const CpuProblem& p, const DivergenceRequest& request, int workers) {
  check_divergence_request(p, request);
  const DivergenceMemory memory(p, request, nullptr);
  return memory.shared_bytes + memory.worker_bytes * static_cast<size_t>(workers);
}

/// Adds `parts` rows of `size` sums to the first, in order.
HWY_INLINE void add_up(double* sums, int64_t parts, int64_t size) {
  for (int64_t part = 1; part < parts; ++part) {
    for (int64_t i = 0; i < size; ++i) sums[i] += sums[part * size + i];
  }
}

/// One call of the operation.
class DivergenceCall {
 public:
  DivergenceCall(const CpuProblem& problem, const float* row_max, const float* log_sum,
                 const DivergenceRequest& request, std::byte* workspace, const ParallelFor& parallel,
                 const std::stop_token& stop)
      : p_(problem),
        row_max_(row_max),
        log_sum_(log_sum),
        request_(request),
        memory_(problem, request, workspace),
        workers_(workspace + memory_.shared_bytes),
        parallel_(parallel),
        stop_(stop) {}

  bool run(const DivergenceOutput& output) const {
    const WeightError error(p_, row_max_, log_sum_, request_.batch, request_.row_begin, request_.row_end);
    parallel_.run(p_.q_heads, [&](int64_t head, int) { memory_.root_errors[head] = error.of_head(head); });
    if (request_.estimator == DivergenceEstimator::exact) sum_rows<ExactTerm>();
    if (request_.estimator == DivergenceEstimator::hellinger) sum_rows<HellingerTerm>();
    if (request_.estimator == DivergenceEstimator::sampled) sum_samples();
    if (stop_.stop_requested()) return false;
    if (request_.estimator == DivergenceEstimator::sampled) {
      write_sampled_divergences(request_, p_.q_heads, memory_.sums, memory_.root_errors, output);
    } else {
      write_row_divergences(request_, DivergencePlan(p_, request_), memory_.sums, memory_.root_errors, output);
    }
    return true;
  }

 private:
  Carver scratch(int worker) const { return Carver(workers_ + static_cast<size_t>(worker) * memory_.worker_bytes); }

  template <class Term>
  void sum_rows() const {
    const DivergencePlan plan(p_, request_);
    parallel_.run(plan.tasks, [&](int64_t index, int worker) {
      if (stop_.stop_requested()) return;
      const int64_t task = plan.tasks - 1 - index;  // the last rows first: under a causal mask they see the most keys
      const int64_t first = task * plan.strips_per_task;
      Carver carver = scratch(worker);
      DivergenceTask<Term> work(p_, row_max_, log_sum_, request_, plan, DivergenceScratch::carve(carver, p_, plan),
                                memory_.sums + task * plan.pairs);
      work.run(first, std::min(plan.strips_per_task, plan.strips - first), stop_);
    });
    add_up(memory_.sums, plan.tasks, plan.pairs);
  }

  void sum_samples() const {
    const SamplePlan plan(p_, request_);
    parallel_.run(plan.tasks(), [&](int64_t task, int worker) {
      if (stop_.stop_requested()) return;
      const int64_t head = task / plan.runs, first = task % plan.runs * plan.run;
      Carver carver = scratch(worker);
      SampleTask work(p_, row_max_, log_sum_, request_, SampleScratch::carve(carver, p_),
                      memory_.sums + task * p_.q_heads);
      work.run(head, first, std::min(first + plan.run, plan.samples), stop_);
    });
    for (int64_t head = 0; head < p_.q_heads; ++head) {
      double* sums = memory_.sums + head * plan.runs * p_.q_heads;
      add_up(sums, plan.runs, p_.q_heads);
      if (head > 0) std::copy_n(sums, p_.q_heads, memory_.sums + head * p_.q_heads);
    }
  }

  const CpuProblem& p_;
  const float* row_max_;
  const float* log_sum_;
  const DivergenceRequest& request_;
  const DivergenceMemory memory_;
  std::byte* workers_;
  const ParallelFor& parallel_;
  const std::stop_token& stop_;
};

inline bool divergence(const CpuProblem& p, const float* row_max, const float* log_sum,
                       const DivergenceRequest& request, const DivergenceOutput& output, std::span<std::byte> workspace,
                       const ParallelFor& parallel, std::stop_token stop) {
  check_divergence_request(p, request);
  return DivergenceCall(p, row_max, log_sum, request, workspace.data(), parallel, stop).run(output);
}

}  // namespace headscope::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
