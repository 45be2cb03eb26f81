// What the CUDA divergences lean on and their results do not show: plans, places of sums, and scores that have the bits
// of the other kernels' score tiles.
#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "kernels/cuda/divergence_plan.cuh"
#include "tests/kernels/cuda_limits.h"
#include "tests/kernels/divergence_case.h"
#include "tests/kernels/tested_kernels.h"
#include "tests/support/compare.h"

namespace headscope::cuda {
namespace {

using headscope::testing::AttentionCase;
using headscope::testing::CaseSpec;
using headscope::testing::Memory;
using headscope::testing::same_bits;

constexpr int rows = 16, keys = 32;

/// <q, k> of the first 16 queries and 32 keys of a problem, both ways.
struct DotParams {
  DivergenceInputs in;
  DivergenceReaders readers;
  float* straight;  ///< [16][32]
  float* tiled;
};

template <int kPlanes>
void dot_kernel(DotParams p) {
  const AttentionProblem& problem = p.in.problem;
  const SharedPlanes q{reinterpret_cast<uint16_t*>(shared_memory()), rows, padded_dim(problem.key_dim), kPlanes};
  const SharedPlanes k{q.data + q.bytes() / sizeof(uint16_t), keys, q.dim, kPlanes};
  fill_planes<kPlanes>(
      q, problem.key_dim, [&](int row) { return query_numbers(p.in, 1, row); },
      [](int, const GlobalRow& row, int dim) { return row.at(dim); });
  fill_planes<kPlanes>(
      k, problem.key_dim, [&](int key) { return key_numbers(p.in, 0, key); },
      [&](int key, const GlobalRow& row, int dim) { return rotated(problem.key_rotation, row, key, dim); });
  block_barrier();
  const int g = lane_index() / 4, t = lane_index() % 4;
  const GlobalRow queries[2] = {query_numbers(p.in, 1, g), query_numbers(p.in, 1, g + 8)};
  float straight[keys / 8][4], tiled[keys / 8][4];
  multiply_rows<kPlanes>(p.in, p.readers, 0, queries, 0, straight);
  multiply_scores<kPlanes>(q, 0, k, 0, tiled);
  for (int n = 0; n < keys / 8; ++n) {
    for (int i = 0; i < 4; ++i) {
      const int at = (g + i / 2 * 8) * keys + 8 * n + 2 * t + i % 2;
      p.straight[at] = straight[n][i];
      p.tiled[at] = tiled[n][i];
    }
  }
}

void expect_bits_of_score_tiles(const CaseSpec& spec) {
  const AttentionCase c(spec);
  DivergenceRequest request;
  request.row_end = rows;
  const DivergenceInputs in{c.problem, nullptr, nullptr, request};
  std::vector<float> straight(rows * keys), tiled(rows * keys);
  const DotParams params{in, DivergenceReaders::of(c.problem), straight.data(), tiled.data()};
  const bool plain = spec.element == Element::bf16 && key_planes_of(c.problem) == 1;
  launch("dots", plain ? dot_kernel<1> : dot_kernel<3>, {}, warp_size, current_limits().block_bytes, nullptr, params);
  EXPECT_TRUE(same_bits(straight, tiled)) << spec.key_dim;
  EXPECT_NE(straight[0], 0);
}

TEST(DivergenceScores, HaveTheBitsOfScoreTiles) {
  for (const Element element : {Element::f32, Element::bf16}) {
    for (const Memory memory : {Memory::packed, Memory::interleaved}) {
      for (const int64_t dim : {13, 24, 64}) {
        CaseSpec spec;
        spec.q_heads = 2;
        spec.q_len = rows;
        spec.kv_len = keys;
        spec.key_dim = dim;
        spec.element = element;
        spec.memory = memory;
        expect_bits_of_score_tiles(spec);
        spec.rotation = {RotationStyle::rotate_half, 8, 2};
        expect_bits_of_score_tiles(spec);
      }
    }
  }
}

void expect_places_of_pairs(const PairPlan& plan) {
  std::set<int64_t> places;
  for (int64_t i = 0; i < plan.heads; ++i) {
    for (int64_t j = i; j < plan.heads; ++j) {
      // The blocks of a pair of groups have their parts side by side, part 0 first.
      const int64_t place = plan.place(i, j), in_group = place % (plan.parts * plan.part_size());
      EXPECT_TRUE(place >= 0 && place < plan.sums() && in_group < plan.part_size());
      for (int slice = 0; slice < plan.slices; ++slice) {
        EXPECT_TRUE(places.insert(place + slice * PairPlan::pair_block).second) << i << ", " << j;
      }
    }
  }
}

TEST(PairPlan, EachPairOfHeadsHasAPlaceOfItsOwn) {
  for (const testing::NamedLimits& device : testing::device_limits) {
    for (const int64_t heads : {1, 8, 9, 32, 40, 64, 65, 100, 200}) {
      SCOPED_TRACE(std::string(device.name) + ", " + std::to_string(heads));
      AttentionProblem p;
      p.q_heads = p.kv_heads = heads;
      p.q_len = p.kv_len = 500;
      DivergenceRequest request;
      request.row_end = p.q_len;
      const PairPlan plan = PairPlan::of(p, request, device.limits);
      expect_places_of_pairs(plan);
      EXPECT_LE(plan.group_pairs() * plan.parts, 2 * device.limits.multiprocessors);
      EXPECT_LE(plan.shared_bytes(), device.limits.block_bytes);
      EXPECT_EQ(plan.group, heads > 64 && device.limits.block_bytes < 160 * testing::kib
                                ? 32
                                : std::min<int64_t>((heads + 7) / 8 * 8, 64));
    }
  }
}

/// Groups of 32 heads instead of 64: the same pairs.
TEST(PairSums, OfManyHeadsOnASmallDevice) {
  CaseSpec spec;
  spec.q_heads = 70;
  spec.kv_heads = 2;
  spec.q_len = 20;
  spec.kv_len = 40;
  spec.offset = 20;
  const AttentionCase c(spec);
  const AttentionKernel& kernel = testing::tested_kernels().front();
  const testing::Results forward = testing::run_forward(kernel, c, SerialFor());
  for (const auto estimator : {DivergenceEstimator::exact, DivergenceEstimator::hellinger}) {
    const DivergenceRequest request = testing::divergence_request(c.problem, estimator);
    const auto large = testing::run_divergence(kernel, c.problem, forward, request, SerialFor());
    const emulator::OnMachine machine({testing::small_limits});
    const auto small = testing::run_divergence(kernel, c.problem, forward, request, SerialFor());
    EXPECT_TRUE(testing::all_near(small.value, large.value, 1e-6));
  }
}

/// A block has several tiles then, of several rows.
TEST(PairSums, OfMoreTilesThanBlocks) {
  CaseSpec spec;
  spec.q_heads = 2;
  spec.q_len = 400;
  spec.kv_len = 1536;
  spec.causal = false;
  const AttentionCase c(spec);
  const AttentionKernel& kernel = testing::tested_kernels().front();
  const testing::Results forward = testing::run_forward(kernel, c, SerialFor());
  const auto run = [&](DivergenceEstimator estimator) {
    const DivergenceRequest request = testing::divergence_request(c.problem, estimator);
    const PairPlan plan = PairPlan::of(c.problem, request, {});
    EXPECT_GT(400 / PairPlan::tile_rows * (1536 / plan.tile_keys), plan.parts);
    return testing::run_divergence(kernel, c.problem, forward, request, SerialFor()).value[1];
  };
  const auto dense =
      testing::dense_divergences(c.problem, testing::divergence_request(c.problem, DivergenceEstimator::exact));
  EXPECT_LE(testing::difference(run(DivergenceEstimator::exact), dense.exact[1]), 1e-6);
  EXPECT_LE(testing::difference(run(DivergenceEstimator::hellinger), testing::middle_of_bracket(dense.h2[1])), 1e-6);
}

/// One plane instead of three, whose steps are summed in another way. Of 24 numbers fewer products are cut off, so the
/// bounds are closer.
TEST(PairSums, OfBf16AgreeWithF32) {
  CaseSpec spec = testing::grouped_spec(61, 301);
  spec.key_dim = 24;
  spec.window = 77;
  spec.element = Element::bf16;
  const AttentionCase c(spec);
  const AttentionKernel& kernel = testing::tested_kernels().front();
  const testing::Results forward = testing::run_forward(kernel, c, SerialFor());
  for (const auto estimator :
       {DivergenceEstimator::exact, DivergenceEstimator::hellinger, DivergenceEstimator::sampled}) {
    DivergenceRequest request = testing::divergence_request(c.problem, estimator);
    request.samples = 200;
    const auto bf16 = testing::run_divergence(kernel, c.problem, forward, request, SerialFor());
    const auto f32 = testing::run_divergence(kernel, c.in_f32(), forward, request, SerialFor());
    EXPECT_TRUE(testing::all_near(bf16.value, f32.value, 1e-6));
    EXPECT_TRUE(f32.lower[1] <= bf16.lower[1] && bf16.upper[1] < f32.upper[1]);
  }
}

/// One row that sees `kv_len` keys, the first ones of |k| = 3, with |q| = 2 and a scale of 0.5: B = 3.
double root_error(Element element, float row_max, float log_sum, int64_t kv_len = 4) {
  const float q[] = {2, 0};
  const uint16_t q16[] = {to_bf16(2), 0};
  std::vector<float> k = {3, 0, 0, 3, 1, 1, 0, 0};
  k.resize(static_cast<size_t>(2 * kv_len));
  std::vector<uint16_t> k16;
  for (const float number : k) k16.push_back(to_bf16(number));
  DivergenceInputs in;
  AttentionProblem& p = in.problem;
  p.q_heads = p.kv_heads = p.q_len = 1;
  p.kv_len = kv_len;
  p.causal = false;
  p.key_dim = 2;
  p.scale = 0.5F;
  p.q = element == Element::f32 ? InputRows(q, 2, 2, 2) : InputRows(q16, 2, 2, 2);
  p.k = element == Element::f32 ? InputRows(k.data(), 8, 8, 2) : InputRows(k16.data(), 8, 8, 2);
  in.row_max = &row_max;
  in.log_sum = &log_sum;
  in.request.row_end = 1;
  double root = 0;
  uint32_t largest[2];
  const SerialFor serial;
  PacedLaunches launches(serial, {});
  EXPECT_TRUE(start_weight_errors(in, {&root, largest}, launches));
  return root;
}

/// By hand, as divergence_error.cu derives them: no case of random numbers comes near the worst.
TEST(WeightErrors, AreThoseOfTheDerivation) {
  const double f32 = 2 * 6 * (16 + 1) + 1 + 1 + 1 + 8, bf16 = 2 * (2 + 1) + 1 + 1 + 8;
  const double others = 10 * (3 + 0.5) + 14 * (std::log(4) + 1) + (8 + 4 + 64) + 6;
  EXPECT_NEAR(root_error(Element::f32, 3, 0.5F) / ((3 * f32 + others) * 0x1p-25), 1, 1e-3);
  EXPECT_NEAR(root_error(Element::bf16, 3, 0.5F) / ((3 * bf16 + others) * 0x1p-25), 1, 1e-3);
  // The largest score may rise with every 16 keys.
  const double length = std::log(1000) - std::log(4);
  EXPECT_NEAR(root_error(Element::bf16, 3, 0.5F, 1000) / ((3 * bf16 + others + 14 * length + 62 * 6) * 0x1p-25), 1,
              1e-3);
  EXPECT_EQ(root_error(Element::f32, minus_infinity(), 0), 0);
  EXPECT_TRUE(std::isnan(root_error(Element::f32, 3, NAN)));
}

/// A lane adds 4 of the 512 cells of a tile, which are cut into 4 slices of 32 lanes; 5 turns over the lanes follow.
TEST(PairRoundings, CountAdditionsAndTerms) {
  AttentionProblem p;
  p.q_heads = p.kv_heads = 32;
  p.q_len = p.kv_len = 4096;
  DivergenceRequest request;
  request.row_end = p.q_len;
  const PairPlan plan = PairPlan::of(p, request, {});
  EXPECT_TRUE(plan.tile_keys == 32 && plan.slices == 4 && plan.parts == 264);
  EXPECT_EQ(pair_roundings(plan, DivergenceEstimator::exact).relative, 4 + 5 + 6);
  EXPECT_EQ(pair_roundings(plan, DivergenceEstimator::hellinger).relative, 4 + 5 + 3);
}

TEST(SamplePlan, RunsHoldAllSamples) {
  AttentionProblem p;
  p.q_heads = 3;
  DivergenceRequest request;
  for (const int64_t samples : {1, 128, 129, 4096, 1'000'000}) {
    request.samples = samples;
    const SamplePlan plan = SamplePlan::of(p, request);
    EXPECT_TRUE(plan.runs * plan.run >= samples && (plan.runs - 1) * plan.run < samples);
    EXPECT_LE(plan.runs, SamplePlan::most_runs);
    EXPECT_EQ(plan.run % SamplePlan::chunk, 0);
  }
}

}  // namespace
}  // namespace headscope::cuda
