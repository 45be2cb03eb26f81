// What the CUDA divergences lean on and their results do not show: plans, places of sums, and scores that have the bits
// of the other kernels' score tiles.
#include <gtest/gtest.h>

#include <random>
#include <set>
#include <vector>

#include "kernels/cuda/divergence.cuh"
#include "tests/kernels/attention_case.h"
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
  launch("dots", plain ? dot_kernel<1> : dot_kernel<3>, {}, warp_size, most_shared_bytes, nullptr, params);
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

TEST(PairPlan, EachPairOfHeadsHasAPlaceOfItsOwn) {
  for (const int64_t heads : {1, 8, 9, 32, 40, 64, 65, 100, 200}) {
    AttentionProblem p;
    p.q_heads = p.kv_heads = heads;
    p.q_len = p.kv_len = 500;
    DivergenceRequest request;
    request.row_end = p.q_len;
    const PairPlan plan = PairPlan::of(p, request);
    std::set<int64_t> places;
    for (int64_t i = 0; i < heads; ++i) {
      for (int64_t j = i; j < heads; ++j) {
        // The blocks of a pair of groups have their parts side by side, part 0 first.
        const int64_t place = plan.place(i, j), in_group = place % (plan.parts * plan.part_size());
        EXPECT_TRUE(place >= 0 && place < plan.sums() && in_group < plan.part_size());
        EXPECT_TRUE(places.insert(place).second) << heads << ": " << i << ", " << j;
      }
    }
    EXPECT_LE(plan.group_pairs() * plan.parts, PairPlan::most_blocks);
    EXPECT_LE(plan.shared_bytes(), most_shared_bytes) << heads;
  }
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
