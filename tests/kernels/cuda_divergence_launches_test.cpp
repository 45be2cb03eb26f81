// Divergences on CUDA's emulator that are cut into several launches: the same bits, and stops between them.
#include <gtest/gtest.h>

#include <cmath>
#include <utility>
#include <vector>

#include "kernels/cuda/divergence_plan.cuh"
#include "tests/kernels/divergence_case.h"
#include "tests/kernels/tested_kernels.h"
#include "tests/support/compare.h"

namespace headscope::cuda {
namespace {

using headscope::testing::AttentionCase;
using headscope::testing::CaseSpec;
using headscope::testing::same_bits;

/// The sums of a call whose launches hold `most_work` each, and how many launches these are.
struct Sums {
  std::vector<double> sums;
  int64_t launches = 0;
};
Sums sums_of(const DivergenceInputs& in, double most_work) {
  std::stop_source never;
  const testing::StopAtTask counts(never, -1);
  PacedLaunches launches(counts, {}, most_work);
  std::vector<double> sums;
  if (in.request.estimator == DivergenceEstimator::sampled) {
    const SamplePlan plan = SamplePlan::of(in.problem, in.request);
    sums.resize(static_cast<size_t>(plan.sums()), NAN);
    std::vector<Draw> draws(static_cast<size_t>(plan.draws()));
    EXPECT_TRUE(start_sample_sums(in, plan, {sums.data(), draws.data()}, launches));
  } else {
    PairPlan plan = PairPlan::of(in.problem, in.request, {});
    plan.parts = 3;  // of several tiles each
    sums.resize(static_cast<size_t>(plan.sums()), NAN);
    EXPECT_TRUE(start_pair_sums(in, plan, sums.data(), launches));
  }
  return {std::move(sums), counts.launches()};
}

double smallest_work(const DivergenceInputs& in) {
  return in.request.estimator == DivergenceEstimator::sampled ? SamplePlan::of(in.problem, in.request).step_work
                                                              : PairPlan::of(in.problem, in.request, {}).tile_work;
}

class DivergenceLaunches : public ::testing::TestWithParam<DivergenceEstimator> {
 protected:
  /// Windows that begin inside a tile, and several tiles a row.
  static CaseSpec spec() {
    CaseSpec spec;
    spec.q_heads = spec.kv_heads = 2;
    spec.q_len = 70;
    spec.kv_len = 600;
    spec.offset = 450;
    spec.window = 400;
    return spec;
  }
  const AttentionKernel& kernel_ = testing::tested_kernels().front();
};

TEST_P(DivergenceLaunches, ChangeNoBit) {
  const AttentionCase c(spec());
  testing::Results forward = testing::run_forward(kernel_, c, SerialFor());
  for (float& log_sum : forward.log_sum) log_sum += 0.5F;  // so that many draws need their second search
  DivergenceInputs in{c.problem, forward.row_max.data(), forward.log_sum.data(),
                      testing::divergence_request(c.problem, GetParam())};
  in.request.row_begin = 3;                                            // and 67 rows: the last tile is a part of one
  in.request.samples = SamplePlan::most_runs * SamplePlan::chunk + 1;  // two chunks a run
  const double work = smallest_work(in);
  const Sums whole = sums_of(in, 1e30);
  EXPECT_EQ(whole.launches, 1);
  for (const double pieces : {7, 1}) {
    const Sums cut = sums_of(in, pieces * work);
    EXPECT_TRUE(same_bits(cut.sums, whole.sums)) << pieces;
    EXPECT_GE(cut.launches, 10 / pieces);
  }
}

/// As docs/cuda.md says: 32 heads of 128 numbers on an H200. `most`: launch_work of device_gpu.h.
TEST_P(DivergenceLaunches, OfCommonSizesAreFew) {
  constexpr double most = 4e11;
  const auto launches = [](Element element, int64_t tokens) {
    AttentionProblem p;
    p.q_heads = 32, p.kv_heads = 8, p.q_len = p.kv_len = tokens, p.key_dim = p.value_dim = 128;
    p.q.element = p.k.element = p.v.element = element;
    DivergenceRequest request;
    request.estimator = GetParam();
    request.row_end = tokens;
    if (GetParam() == DivergenceEstimator::sampled) {
      const SamplePlan plan = SamplePlan::of(p, request);
      return std::ceil(plan.step_work * static_cast<double>(plan.steps()) / most);
    }
    const PairPlan plan = PairPlan::of(p, request, {});
    return std::ceil(plan.tile_work * static_cast<double>(plan.tiles) / most);
  };
  const bool exact = GetParam() == DivergenceEstimator::exact, sampled = GetParam() == DivergenceEstimator::sampled;
  EXPECT_EQ(launches(Element::bf16, 2048), 1);
  EXPECT_EQ(launches(Element::bf16, 4096), sampled ? 2 : 1);
  EXPECT_EQ(launches(Element::bf16, 8192), exact || sampled ? 3 : 2);
  EXPECT_EQ(launches(Element::f32, 2048), sampled ? 5 : 1);
}

/// Before each launch, the one that writes the results among them.
TEST_P(DivergenceLaunches, AStopIsSeenBetweenThem) {
  const AttentionCase c(spec());
  const testing::Results forward = testing::run_forward(kernel_, c, SerialFor());
  DivergenceRequest request = testing::divergence_request(c.problem, GetParam());
  request.samples = 200;
  const auto outputs_after_stop = [&](int64_t at, bool expected) {
    std::vector<float> values(12, 7), untouched = values;
    std::vector<std::byte> workspace(kernel_.divergence_workspace(c.problem, request, 1));
    std::stop_source source;
    const testing::StopAtTask stopping(source, at);
    EXPECT_EQ(kernel_.divergence(c.problem, forward.row_max.data(), forward.log_sum.data(), request,
                                 {values.data(), values.data() + 4, values.data() + 8}, workspace, stopping,
                                 source.get_token()),
              expected);
    EXPECT_EQ(values == untouched, !expected);
    return stopping.launches();
  };
  const int64_t launches = outputs_after_stop(-1, true);
  EXPECT_GT(launches, 6) << "the sums are one launch";
  for (const int64_t at : {launches / 2, launches - 1}) EXPECT_EQ(outputs_after_stop(at, false), at + 1);
}

INSTANTIATE_TEST_SUITE_P(All, DivergenceLaunches,
                         ::testing::Values(DivergenceEstimator::exact, DivergenceEstimator::hellinger,
                                           DivergenceEstimator::sampled));

}  // namespace
}  // namespace headscope::cuda
