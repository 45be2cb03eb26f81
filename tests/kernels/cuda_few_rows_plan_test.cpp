// How the CUDA kernels of few query rows cut keys into splits and shared memory into tiles.
#include <gtest/gtest.h>

#include <algorithm>
#include <tuple>
#include <vector>

#include "kernels/cuda/few_rows_plan.cuh"

namespace headscope::cuda {
namespace {

constexpr int64_t wanted = 264;  // two blocks for each multiprocessor of an H200

TEST(SplitPlan, SplitsHoldEachKeyOnce) {
  for (const int64_t begin : {0, 1, 63, 64, 1000}) {
    for (const int64_t length : {1, 64, 255, 256, 257, 1000, 4096, 131072}) {
      for (const int64_t blocks : {1, 7, 8, 100, 263, 264, 10000}) {
        const SplitPlan plan = SplitPlan::of({begin, begin + length}, blocks, wanted);
        int64_t next = begin;
        for (int64_t i = 0; i < plan.count; ++i) {
          const KeyRange part = plan.split(i);
          ASSERT_EQ(part.begin, next);
          ASSERT_FALSE(part.empty()) << "split " << i << " of " << length << " keys, " << blocks << " blocks";
          ASSERT_TRUE(i == 0 || part.begin % most_tile_keys == 0);
          next = part.end;
        }
        EXPECT_EQ(next, begin + length);
        EXPECT_LE(plan.count, SplitPlan::most_splits(length + 63, blocks, wanted));
        EXPECT_TRUE(plan.count == 1 || plan.split_keys >= least_split);
      }
    }
  }
}

TEST(SplitPlan, FillsTheGpuAndNotMore) {
  EXPECT_EQ(SplitPlan::of({0, 131072}, 8, wanted).count, 33)
      << "8 KV heads: 33 splits each make two blocks a multiprocessor";
  EXPECT_EQ(SplitPlan::of({0, 131072}, 264, wanted).count, 1);
  EXPECT_EQ(SplitPlan::of({0, 131072}, 1, wanted).count, 256) << "whole tiles: 264 splits would be 497 keys each";
  EXPECT_EQ(SplitPlan::of({0, 1000}, 1, wanted).count, 4);
  EXPECT_EQ(SplitPlan::of({}, 1, wanted).count, 1);
}

/// A graph of a decode step has blocks for the longest cache that it serves.
TEST(SplitPlan, AShorterCacheNeedsNoMoreSplits) {
  for (const int64_t blocks : {1, 5, 32, 200}) {
    int64_t most = 1;
    for (int64_t length = 1; length < 9000; length += 13) {
      most = std::max(most, SplitPlan::of({0, length}, blocks, wanted).count);
      ASSERT_LE(most, SplitPlan::most_splits(length, blocks, wanted));
    }
  }
}

AttentionProblem shape_of(int64_t group, int64_t key_dim, int64_t value_dim, Element element) {
  AttentionProblem p;
  p.q_heads = group, p.kv_heads = 1, p.q_len = 1, p.kv_len = 1000;
  p.key_dim = key_dim, p.value_dim = value_dim;
  p.q.element = p.k.element = p.v.element = element;
  return p;
}

/// The sizes that decoding is made for. Results hang on them.
TEST(TilePlan, CommonShapes) {
  const TilePlan llama = plan_tiles(shape_of(8, 128, 128, Element::bf16), {});
  EXPECT_EQ(std::tuple(llama.rows(), llama.tile_keys), std::tuple(16, 64));
  const TilePlan latents = plan_tiles(shape_of(128, 576, 512, Element::bf16), {});
  EXPECT_EQ(std::tuple(latents.rows(), latents.tile_keys, latents.stages), std::tuple(64, 32, 3));
  EXPECT_EQ(plan_tiles(shape_of(128, 576, 512, Element::f32), {}).rows(), 16)
      << "no room for more queries of three planes";
}

TEST(TilePlan, SharedRowsAreReadOnce) {
  AttentionProblem p = shape_of(128, 576, 512, Element::bf16);
  EXPECT_TRUE(plan_tiles(p, {}).values_in_keys && plan_tiles(p, {}).copied && plan_tiles(p, {}).row_tiles == 4);
  p.v.row_stride = 8;
  EXPECT_FALSE(plan_tiles(p, {}).values_in_keys);
  p = shape_of(8, 128, 128, Element::bf16);
  const float table = 0;
  p.key_rotation.cosines = &table;
  EXPECT_TRUE(plan_tiles(p, {}).values_in_keys && plan_tiles(p, {}).turned && plan_tiles(p, {}).copied);
}

}  // namespace
}  // namespace headscope::cuda
