// The CUDA kernels on GPUs with less shared memory, or more multiprocessors, than an H200's.
#include "tests/kernels/cuda_limits.h"

#include <gtest/gtest.h>

#include <string>

#include "kernels/cuda/few_rows_plan.cuh"
#include "tests/kernels/conformance_cases.h"
#include "tests/kernels/conformance_check.h"
#include "tests/kernels/divergence_case.h"
#include "tests/kernels/map_case.h"
#include "tests/kernels/tested_kernels.h"

namespace headscope::testing {
namespace {

using cuda::emulator::OnMachine;

const AttentionKernel& kernel() { return tested_kernels().front(); }

/// Every launch of every operation. The emulator throws where one asks for more shared memory than there is.
void start_all(const AttentionCase& c) {
  const AttentionProblem& p = c.problem;
  const Results forward = run_forward(kernel(), c, SerialFor());
  if (p.q_len == 0 || p.kv_len == 0) return;
  for (const int64_t bin : {1, 7, 100}) {
    run_tile(kernel(), p, forward, {0, 0, 0, p.q_len, 0, p.kv_len, bin, Pooling::mean}, SerialFor());
    run_map_statistics(kernel(), p, forward, {bin, cuda::ceil_div(p.kv_len, bin)}, SerialFor());
  }
  for (const auto estimator :
       {DivergenceEstimator::exact, DivergenceEstimator::hellinger, DivergenceEstimator::sampled}) {
    DivergenceRequest request;
    request.row_end = p.q_len;
    request.estimator = estimator;
    std::vector<std::byte> workspace(kernel().divergence_workspace(p, request, 1));
    EXPECT_TRUE(kernel().divergence(p, forward.row_max.data(), forward.log_sum.data(), request, {}, workspace,
                                    SerialFor(), {}));
  }
}

class DeviceLimitsOf : public ::testing::TestWithParam<NamedLimits> {
 protected:
  const cuda::DeviceLimits& limits_ = GetParam().limits;
};

/// Without running the kernels: all that is asked is whether their plans fit.
TEST_P(DeviceLimitsOf, EveryCaseFitsOrIsRefused) {
  const OnMachine machine({limits_, false});
  int refused = 0;
  for (const CaseSpec& spec : covering_cases()) {
    SCOPED_TRACE(spec.name);
    const AttentionCase c(spec);
    const auto why = kernel().unsupported(c.problem);
    if (spec.value_dim > 512) {
      EXPECT_TRUE(why) << "on any device";
    } else if (why) {
      ++refused;
      EXPECT_GT(spec.key_dim, 256) << *why;
      EXPECT_NE(why->find(" KiB of shared memory for a block, too little for keys of 576 numbers"), std::string::npos);
    } else {
      EXPECT_NO_THROW(start_all(c));
    }
  }
  EXPECT_EQ(refused > 0, limits_.block_bytes < 163 * kib);
}

TEST_P(DeviceLimitsOf, TilesOfFewRowsFitOrAreRefused) {
  const float table = 0;
  alignas(16) uint16_t apart = 0;
  for (const int64_t group : {1, 16, 17, 128}) {
    for (const auto& [key_dim, value_dim] :
         std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {64, 64}, {128, 128}, {192, 128}, {256, 256}, {576, 512}}) {
      for (int kind = 0; kind < 16; ++kind) {
        AttentionProblem p;
        p.q_heads = group, p.kv_heads = 1, p.q_len = 1, p.kv_len = 1000;
        p.key_dim = key_dim, p.value_dim = value_dim;
        p.q.element = p.k.element = p.v.element = kind & 1 ? Element::f32 : Element::bf16;
        if (kind & 2) p.q.element = Element::f32;
        if (kind & 4) p.key_rotation.cosines = &table;
        if (kind & 8) p.v.data = &apart;
        SCOPED_TRACE(std::to_string(group) + ", " + std::to_string(key_dim) + ", " + std::to_string(kind));
        if (!cuda::tiles_fit(p, limits_)) {
          EXPECT_TRUE(key_dim == 576 && limits_.block_bytes < 227 * kib);
          continue;
        }
        const cuda::TilePlan plan = cuda::plan_tiles(p, limits_);
        EXPECT_TRUE(plan.bytes() <= limits_.block_bytes && plan.tile_keys >= 16) << plan.bytes();
        EXPECT_EQ(plan.wanted_blocks, 2 * limits_.multiprocessors);
      }
    }
  }
}

std::string name_of(const ::testing::TestParamInfo<NamedLimits>& test) { return test.param.name; }
INSTANTIATE_TEST_SUITE_P(Devices, DeviceLimitsOf, ::testing::ValuesIn(device_limits), name_of);

/// Shapes that run otherwise on the smallest of these devices: many rows by the kernel of few rows, 16 rows of it in a
/// block instead of 64, tiles and statistics by chunks of the numbers of rows.
class OnASmallDevice : public ::testing::TestWithParam<CaseSpec> {};

TEST_P(OnASmallDevice, Holds) {
  const OnMachine machine({small_limits});
  ASSERT_FALSE(kernel().unsupported(AttentionCase(GetParam()).problem));
  expect_conformance(GetParam());
}

CaseSpec small_case(const char* name, int64_t rows, int64_t key_dim, int64_t value_dim, Element element) {
  CaseSpec spec = grouped_spec(rows, 150);
  spec.name = name;
  spec.key_dim = key_dim;
  spec.value_dim = value_dim;
  spec.element = element;
  return spec;
}
std::vector<CaseSpec> small_cases() {
  std::vector<CaseSpec> cases = {small_case("to_few_rows", 70, 128, 128, Element::f32),
                                 small_case("long_keys_to_few_rows", 70, 256, 128, Element::f32),
                                 small_case("latents_of_16_rows", 40, 576, 512, Element::bf16)};
  cases.push_back(cases[0]);
  cases.back().name = "to_few_rows_masked";
  cases.back().window = 33;
  cases.back().poison = true;
  cases.back().log_weights = LogWeights::holes;
  return cases;
}
INSTANTIATE_TEST_SUITE_P(Shapes, OnASmallDevice, ::testing::ValuesIn(small_cases()),
                         [](const auto& test) { return test.param.name; });

/// Some of the cases that cover the axes.
TEST(SmallDevice, CoveringCasesHold) {
  const OnMachine machine({small_limits});
  const std::vector<CaseSpec> cases = covering_cases();
  for (size_t i = 5; i < cases.size(); i += 12) {
    SCOPED_TRACE(cases[i].name);
    expect_conformance(cases[i], slack_of(cases[i]));
    if (HasFailure()) return;
  }
}

/// More multiprocessors, more splits: the results of few rows hang on them, within rounding.
TEST(SmallDevice, MoreMultiprocessorsMakeMoreSplits) {
  AttentionProblem p;
  p.q_heads = p.kv_heads = 1, p.q_len = 1, p.kv_len = 131072;
  p.key_dim = p.value_dim = 64;
  const auto splits = [&](const cuda::DeviceLimits& limits) {
    return cuda::SplitPlan::of({0, p.kv_len}, 8, cuda::plan_tiles(p, limits).wanted_blocks).count;
  };
  EXPECT_EQ(splits({}), 33);
  EXPECT_EQ(splits(small_limits), 21);
}

}  // namespace
}  // namespace headscope::testing
