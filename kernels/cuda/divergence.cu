// Divergences of all pairs of heads: the call, and from sums to results. The sums are made by divergence_rows.cu and
// divergence_sample.cu, the bounds on the weights by divergence_error.cu.
#include "kernels/cuda/divergence_plan.cuh"

#include "kernels/cuda/attention.h"
#include "kernels/divergence_estimate.h"

namespace headscope::cuda {
namespace {

constexpr int finish_threads = 256;

struct FinishParams {
  DivergenceInputs in;
  DivergenceOutput output;
  const double* sums;
  const double* root_errors;  ///< [q_heads]
  PairPlan pairs;             ///< of exact and hellinger
  PairRoundings roundings;
  SamplePlan samples;  ///< of sampled
  double half_width;
};

/// One pair of heads, by one warp.
class Finish {
 public:
  HEADSCOPE_DEVICE Finish(const FinishParams& p, int64_t i, int64_t j) : p_(p), i_(i), j_(j) {}

  HEADSCOPE_DEVICE DivergenceEstimate estimate() const {
    const DivergenceRequest& request = p_.in.request;
    const double error = p_.root_errors[i_] + p_.root_errors[j_];
    if (request.estimator == DivergenceEstimator::sampled) {
      const double mean = (drawn(i_, j_) + drawn(j_, i_)) / static_cast<double>(2 * request.samples);
      return sampled_divergence(mean, error, p_.half_width);
    }
    const double rows = static_cast<double>(request.row_end - request.row_begin);
    const double relative = p_.roundings.relative * 0x1p-24, absolute = p_.roundings.absolute * 0x1p-24;
    // In a row that is empty for one head alone the other's weights are all there is, and the halves of the two are on
    // different keys.
    const double apart_rows = static_cast<double>(rows_of_one());
    if (request.estimator == DivergenceEstimator::hellinger) {
      return hellinger_divergence((over_rows(i_, j_) + apart_rows) / (2 * rows), error, relative);
    }
    const double pair = (over_rows(i_, j_) - apart_rows / 2) / rows;
    const double apart = (over_rows(i_, i_) + over_rows(j_, j_)) / (2 * rows);
    const double sum_error = ln_2 * (relative * (fabs(pair) + fabs(apart)) + 2 * absolute);
    return exact_divergence(ln_2 * (apart - pair), error, sum_error);
  }

 private:
  /// Numbers `step` doubles apart, each the sum of `pieces` numbers `piece_step` apart; in a fixed order.
  HEADSCOPE_DEVICE static double total(const double* from, int64_t count, int64_t step, int pieces,
                                       int64_t piece_step) {
    double sum = 0;
    for (int64_t n = lane_index(); n < count; n += warp_size) {
      double number = 0;
      for (int i = 0; i < pieces; ++i) number += from[n * step + i * piece_step];
      sum += number;
    }
    for (int mask = warp_size / 2; mask > 0; mask /= 2) sum += shuffle_xor(sum, mask);
    return sum;
  }
  HEADSCOPE_DEVICE double over_rows(int64_t i, int64_t j) const {
    const PairPlan& plan = p_.pairs;
    return total(p_.sums + plan.place(i, j), plan.parts, plan.part_size(), plan.slices, PairPlan::pair_block);
  }
  HEADSCOPE_DEVICE double drawn(int64_t head, int64_t other) const {
    const SamplePlan& plan = p_.samples;
    return total(p_.sums + plan.place(head, other), plan.runs, plan.run_size(), SamplePlan::warps, plan.heads);
  }

  /// Rows that are empty for one of the heads; without key_log_weight all heads see the same keys.
  HEADSCOPE_DEVICE int rows_of_one() const {
    if (!p_.in.problem.key_log_weight) return 0;
    const DivergenceRequest& request = p_.in.request;
    int count = 0;
    for (int64_t row = request.row_begin + lane_index(); row < request.row_end; row += warp_size) {
      count += p_.in.empty(i_, row) != p_.in.empty(j_, row);
    }
    for (int mask = warp_size / 2; mask > 0; mask /= 2) count += shuffle_xor(count, mask);
    return count;
  }

  const FinishParams& p_;
  const int64_t i_, j_;
};

/// A block takes one head with itself and all later ones.
HEADSCOPE_KERNEL void HEADSCOPE_LAUNCH_BOUNDS(finish_threads, 2) finish_divergences(FinishParams p) {
  const int64_t i = block_index().x, heads = p.in.problem.q_heads;
  for (int64_t j = i + warp_index(); j < heads; j += finish_threads / warp_size) {
    const DivergenceEstimate estimate = Finish(p, i, j).estimate();
    if (lane_index() == 0) write_divergence(p.output, heads, i, j, estimate);
  }
}

/// How the work of a call is cut.
struct Plans {
  bool sampled;
  PairPlan pairs;  ///< of exact and hellinger
  SamplePlan samples;

  Plans(const AttentionProblem& p, const DivergenceRequest& request)
      : sampled(request.estimator == DivergenceEstimator::sampled) {
    if (sampled) {
      samples = SamplePlan::of(p, request);
    } else {
      pairs = PairPlan::of(p, request, current_limits());
    }
  }
};

/// Memory of a call.
struct Memory {
  WeightErrors errors;
  double* sums;
  Draw* draws;  ///< of sampled
  size_t bytes;

  Memory(const Plans& plans, int64_t heads, std::byte* base) {
    const auto take = [&](int64_t count, size_t size) {
      std::byte* at = base ? base + bytes : nullptr;
      bytes += (static_cast<size_t>(count) * size + 127) / 128 * 128;
      return at;
    };
    bytes = 0;
    errors.roots = reinterpret_cast<double*>(take(heads, sizeof(double)));
    errors.largest = reinterpret_cast<uint32_t*>(take(2 * heads, sizeof(uint32_t)));
    sums = reinterpret_cast<double*>(take(plans.sampled ? plans.samples.sums() : plans.pairs.sums(), sizeof(double)));
    draws = reinterpret_cast<Draw*>(take(plans.sampled ? plans.samples.draws() : 0, sizeof(Draw)));
  }
};

}  // namespace

size_t divergence_workspace(const AttentionProblem& p, const DivergenceRequest& request, int) {
  check_divergence_request(p, request);
  return Memory(Plans(p, request), p.q_heads, nullptr).bytes;
}

bool divergence(const AttentionProblem& p, const float* row_max, const float* log_sum, const DivergenceRequest& request,
                const DivergenceOutput& output, std::span<std::byte> workspace, const ParallelFor& parallel,
                std::stop_token stop) {
  refuse_lengths(p, "divergences");
  check_divergence_request(p, request);
  const DivergenceInputs in{p, row_max, log_sum, request};
  const Plans plans(p, request);
  const Memory memory(plans, p.q_heads, workspace.data());
  FinishParams finish{in, output, memory.sums, memory.errors.roots, plans.pairs, {}, plans.samples, 0};
  PacedLaunches launches(parallel, stop);
  if (!start_weight_errors(in, memory.errors, launches)) return false;
  if (plans.sampled) {
    finish.half_width = sampling_half_width(request, p.q_heads);
    if (!start_sample_sums(in, plans.samples, {memory.sums, memory.draws}, launches)) return false;
  } else {
    finish.roundings = pair_roundings(plans.pairs, request.estimator);
    if (!start_pair_sums(in, plans.pairs, memory.sums, launches)) return false;
  }
  const auto heads = static_cast<unsigned>(p.q_heads);
  return launches.start("divergences, finished", finish_divergences, {heads}, finish_threads, 0, finish, 0);
}

}  // namespace headscope::cuda
