#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/kernels/attention_case.h"

namespace headscope::testing {

/// What a divergence call writes, each [q_heads, q_heads].
struct Divergences {
  std::vector<float> value, lower, upper;
};

/// A request for the rows that see more than one key, of the last batch.
DivergenceRequest divergence_request(const AttentionProblem& problem, DivergenceEstimator estimator);

/// Runs a kernel into guarded memory and fails the test if it writes beside its outputs or its workspace, or where the
/// results break a promise of DivergenceOutput. `forward` is of the same kernel.
Divergences run_divergence(const AttentionKernel& kernel, const AttentionProblem& problem, const Results& forward,
                           const DivergenceRequest& request, const ParallelFor& parallel);

/// The same of a forward pass of its own.
Divergences run_divergence(const AttentionKernel& kernel, const AttentionCase& c, const DivergenceRequest& request,
                           const ParallelFor& parallel);

/// Jensen-Shannon divergence and squared Hellinger distance of all pairs, from the whole map at once; [q_heads,
/// q_heads].
template <class Real>
struct DenseDivergences {
  std::vector<Real> exact, h2;
};

/// In double, from Q and K alone, written apart from the kernels and by other formulas: a softmax of its own,
/// JSD = (KL(p | m) + KL(q | m)) / 2, h2 = 1 - sum sqrt(p q).
DenseDivergences<double> dense_divergences(const AttentionProblem& problem, const DivergenceRequest& request);

/// In plain f32: how far rounding alone takes the results.
DenseDivergences<float> naive_divergences(const AttentionCase& c, const DivergenceRequest& request);

/// Runs every task on the calling thread and asks for a stop before one of them, of each run; of a kernel of a GPU,
/// which asks for the stream before each launch, before one of these.
class StopAtTask final : public ParallelFor {
 public:
  StopAtTask(std::stop_source& source, int64_t stopping_task) : source_(source), stopping_task_(stopping_task) {}
  int workers() const override { return 1; }
  void run(int64_t tasks, const std::function<void(int64_t, int)>& body) const override {
    for (int64_t task = 0; task < tasks; ++task) {
      if (task == std::min(stopping_task_, tasks - 1)) source_.request_stop();
      body(task, 0);
    }
  }
  void* stream() const override {
    if (launches_++ == stopping_task_) source_.request_stop();
    return nullptr;
  }
  int64_t launches() const { return launches_; }

 private:
  std::stop_source& source_;
  int64_t stopping_task_;
  mutable int64_t launches_ = 0;
};

/// The value that the estimator `hellinger` gives for h2.
double middle_of_bracket(double h2);

}  // namespace headscope::testing
