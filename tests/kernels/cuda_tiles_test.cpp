// Tiles and map statistics of the CUDA kernels, on the emulator: how cells are cut, f16, and what the suite of all
// kernels has no case for.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/cuda/cell_cut.cuh"
#include "kernels/cuda/half.cuh"
#include "kernels/cuda/paced_launches.h"
#include "tests/kernels/map_case.h"
#include "tests/kernels/tested_kernels.h"
#include "tests/support/compare.h"

namespace headscope::cuda {
namespace {

using namespace headscope::testing;

// --- half.cuh ----------------------------------------------------------------------------------------------------

TEST(HalfBits, EveryMiddleOfTwoGoesToTheEvenOne) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  for (uint16_t bits = 0; bits < 0x7BFF; ++bits) {
    const auto next = static_cast<uint16_t>(bits + 1);
    const float low = from_half(bits), high = from_half(next), middle = low + (high - low) / 2;  // exact in f32
    ASSERT_EQ(half_bits(low), bits);
    ASSERT_EQ(half_bits(middle), bits % 2 == 0 ? bits : next) << middle;
    ASSERT_EQ(half_bits(std::nextafter(middle, 0.0F)), bits) << middle;
    ASSERT_EQ(half_bits(std::nextafter(middle, infinity)), next) << middle;
  }
}

TEST(HalfBits, EndsOfTheRange) {
  EXPECT_EQ(half_bits(65504), 0x7BFF);
  EXPECT_EQ(half_bits(std::nextafter(65520.0F, 0.0F)), 0x7BFF);
  EXPECT_EQ(half_bits(65520), 0x7C00);
  EXPECT_EQ(half_bits(std::numeric_limits<float>::infinity()), 0x7C00);
  EXPECT_EQ(half_bits(1e-30F), 0);
  for (const uint32_t nan : {0x7FC00000U, 0xFFC00000U, 0x7FFFFFFFU}) {
    EXPECT_TRUE(std::isnan(from_half(half_bits(float_of_bits(nan)))));
  }
}

// --- cell_cut.cuh, paced_launches.h ------------------------------------------------------------------------------

TEST(CellCut, PiecesCoverEachPlaceOnceAndStayInTheirCells) {
  for (const int limit : {64, 128}) {
    for (const int bin : {1, 2, 7, 63, 64, 65, 100, 127, 128, 129, 1000}) {
      for (const int64_t length : {0, 1, 63, 64, 65, 128, 1000, 1001}) {
        const CellCut cut{-7, -7 + length, bin, limit};
        int64_t place = -7;
        for (int piece = 0; piece < cut.pieces(); ++piece) {
          const KeyRange range = cut.range(piece);
          if (range.empty()) continue;
          ASSERT_EQ(range.begin, place) << bin << ' ' << length;
          ASSERT_LE(range.end - range.begin, limit);
          ASSERT_EQ(cut.first_cell(piece), (range.begin + 7) / bin);
          ASSERT_LT((range.end - 1 + 7) / bin, cut.first_cell(piece) + cut.cells_of_piece());
          for (; place < range.end; ++place) ASSERT_EQ(cut.piece_of(place), piece);
        }
        ASSERT_EQ(place, cut.end) << bin << ' ' << length;
      }
    }
  }
}

TEST(CellCut, WhereACellIsCutDependsOnTheCell) {
  const CellCut all{0, 1000, 150, 64}, part{300, 700, 150, 64};
  for (int64_t place = 300; place < 700; ++place) {
    ASSERT_EQ(all.range(all.piece_of(place)).begin, part.range(part.piece_of(place)).begin) << place;
  }
}

TEST(PacedLaunches, ALaunchHoldsABoundedNumberOfBlocks) {
  const SerialFor serial;
  const PacedLaunches launches(serial, {});
  EXPECT_EQ(launches.at_once(launch_work / 4.5, 100), 4);
  EXPECT_EQ(launches.at_once(launch_work / 4.5, 3), 3);
  EXPECT_EQ(launches.at_once(launch_work * 2, 100), 1);
  EXPECT_EQ(launches.at_once(0, 100), 100);
}

// --- the kernels -------------------------------------------------------------------------------------------------

const AttentionKernel& kernel() { return tested_kernels().front(); }

/// Keys of bf16 numbers that are copied as they are, and such that are not.
CaseSpec bf16_spec(int64_t key_dim) {
  CaseSpec spec;
  spec.element = Element::bf16;
  spec.batch = 2;
  spec.q_heads = 4;
  spec.kv_heads = 2;
  spec.q_len = 140;
  spec.kv_len = 290;
  spec.offset = 150;
  spec.key_dim = key_dim;
  spec.window = 260;
  spec.poison = true;
  return spec;
}

/// Numbers of bf16 are the first plane of the same numbers in f32, whose other planes are 0: one product, or six of
/// which five are 0; sums of several products are rounded otherwise. The dims are those of one chunk, of a padded one
/// and, in f32, of several.
class CopiedRows : public ::testing::TestWithParam<int64_t> {};

TEST_P(CopiedRows, AgreeWithSplitOnes) {
  CaseSpec spec = bf16_spec(GetParam());
  if (spec.key_dim > 256) spec.batch = spec.q_heads = spec.kv_heads = 1;
  const AttentionCase c(spec);
  const Results forward = run_forward(reference_kernel(), c, SerialFor());
  const int64_t batch = spec.batch - 1, head = spec.q_heads - 1;
  for (const int64_t bin : {1, 12, 100}) {
    const TileRequest request{batch, head, 3, 140, 5, 290, bin, Pooling::mean};
    EXPECT_TRUE(all_near(run_tile(kernel(), c.problem, forward, request, SerialFor()),
                         run_tile(kernel(), c.in_f32(), forward, request, SerialFor()), 2e-6))
        << bin;
  }
  const MapResults copied = run_map_statistics(kernel(), c.problem, forward, {10, 30}, SerialFor());
  const MapResults split = run_map_statistics(kernel(), c.in_f32(), forward, {10, 30}, SerialFor());
  EXPECT_TRUE(all_near(copied.mass, split.mass, 2e-5));
  EXPECT_TRUE(all_near(copied.mean, split.mean, 5e-4)) << "f16";
  EXPECT_TRUE(all_near(copied.max, split.max, 1e-3)) << "f16";
  EXPECT_TRUE(all_near(copied.histogram, split.histogram, 1e-4)) << "sums over the keys of a warp, of 32 and of 16";
}

TEST_P(CopiedRows, AgreeWithTheReference) {
  CaseSpec spec = bf16_spec(GetParam());
  spec.batch = spec.q_heads = spec.kv_heads = 1;
  const AttentionCase c(spec);
  const Results forward = run_forward(reference_kernel(), c, SerialFor());
  const TileRequest request{0, 0, 3, 140, 5, 290, 12, Pooling::max};
  EXPECT_TRUE(all_near(run_tile(kernel(), c.problem, forward, request, SerialFor()),
                       run_tile(reference_kernel(), c.problem, forward, request, SerialFor()), 2e-5));
}

INSTANTIATE_TEST_SUITE_P(Dims, CopiedRows, ::testing::Values(8, 64, 72, 576));

/// Long rows come in chunks: queries of f32, which are split, beside keys of bf16, which are copied, as latents have
/// them; and both copied.
TEST(CopiedRows, OfLongRowsComeChunkByChunk) {
  CaseSpec spec = bf16_spec(576);
  spec.batch = spec.q_heads = spec.kv_heads = 1;
  const AttentionCase c(spec);
  const Results forward = run_forward(reference_kernel(), c, SerialFor());
  AttentionProblem mixed = c.problem;
  mixed.q = c.in_f32().q;
  for (const AttentionProblem& problem : {mixed, c.problem}) {
    for (const int64_t bin : {1, 12, 100}) {
      const TileRequest request{0, 0, 3, 140, 5, 290, bin, Pooling::mean};
      EXPECT_TRUE(all_near(run_tile(kernel(), problem, forward, request, SerialFor()),
                           run_tile(reference_kernel(), c.problem, forward, request, SerialFor()), 2e-5))
          << bin;
    }
    const MapResults own = run_map_statistics(kernel(), problem, forward, {10, 30}, SerialFor());
    const MapResults exact = run_map_statistics(reference_kernel(), c.problem, forward, {10, 30}, SerialFor());
    EXPECT_TRUE(all_near(own.mass, exact.mass, 1e-4));
  }
}

/// Keys that are rotated, or not aligned, beside queries that are copied.
TEST(CopiedRows, MayStandBesideSplitOnes) {
  CaseSpec spec = bf16_spec(32);
  spec.batch = 1;
  spec.rotation = {RotationStyle::rotate_half, 32};
  const AttentionCase c(spec);
  AttentionProblem moved = c.problem;  // every other row is none of its rows, so the stride is odd
  std::vector<uint16_t> queries(static_cast<size_t>(spec.q_heads * spec.q_len * 33));
  for (int64_t row = 0; row < spec.q_heads * spec.q_len; ++row) {
    for (int64_t d = 0; d < 32; ++d) {
      queries[static_cast<size_t>(row * 33 + d)] = c.problem.q.row<uint16_t>(0, row / spec.q_len, row % spec.q_len)[d];
    }
  }
  moved.q = {queries.data(), 0, spec.q_len * 33, 33};
  const Results forward = run_forward(reference_kernel(), c, SerialFor());
  const MapResults one = run_map_statistics(kernel(), c.problem, forward, {3, 100}, SerialFor());
  const MapResults other = run_map_statistics(kernel(), moved, forward, {3, 100}, SerialFor());
  for (const NamedMapArray& named : map_arrays()) {
    EXPECT_TRUE(same_bits(one.*named.array, other.*named.array)) << named.name;
  }
  const TileRequest request{0, 3, 0, 140, 0, 290, 20, Pooling::mean};
  EXPECT_TRUE(same_bits(run_tile(kernel(), c.problem, forward, request, SerialFor()),
                        run_tile(kernel(), moved, forward, request, SerialFor())));
}

/// Pieces that hold one key, or one row that sees a key of the block.
class Pieces : public ::testing::TestWithParam<int64_t> {};

TEST_P(Pieces, MayHoldOnePlaceThatCounts) {
  CaseSpec spec;
  spec.q_len = spec.kv_len = 129;
  spec.window = GetParam();
  const AttentionCase c(spec);
  const Results forward = run_forward(reference_kernel(), c, SerialFor());
  for (const int64_t end : {64, 65, 128, 129}) {
    for (const int64_t bin : {1, 4, 64}) {
      const TileRequest request{0, 0, 0, end, 0, end, bin, Pooling::max};
      EXPECT_TRUE(all_near(run_tile(kernel(), c.problem, forward, request, SerialFor()),
                           run_tile(reference_kernel(), c.problem, forward, request, SerialFor()), 2e-5))
          << end << ' ' << bin;
    }
  }
  const std::vector<float> expected = run_map_statistics(reference_kernel(), c.problem, forward, {}, SerialFor()).mass;
  for (const int64_t bin : {1, 65}) {  // 65: pieces of 64 and of 1
    const MapResults actual = run_map_statistics(kernel(), c.problem, forward, {2, bin}, SerialFor());
    EXPECT_TRUE(all_near(actual.mass, expected, 2e-5)) << bin;
  }
  MapStatistics mass_alone;
  std::vector<float> mass(129);
  mass_alone.column_mass = mass.data();
  Guarded<std::byte> workspace(kernel().map_statistics_workspace(c.problem, mass_alone, 1));
  EXPECT_TRUE(kernel().map_statistics(c.problem, forward.row_max.data(), forward.log_sum.data(), mass_alone,
                                      workspace.span(), SerialFor(), {}));
  EXPECT_TRUE(all_near(mass, expected, 2e-5)) << "alone";
}

INSTANTIATE_TEST_SUITE_P(Windows, Pieces, ::testing::Values(0, 1, 2, 65, 66));

/// A few rows of a long prompt, in cells of several runs of pieces.
CaseSpec long_spec(int64_t keys) {
  CaseSpec spec;
  spec.q_len = 70;
  spec.kv_len = keys;
  spec.offset = keys - 70;
  return spec;
}

TEST(LongCells, OfTilesArePooledFromSeveralRuns) {
  const AttentionCase c(long_spec(5000));
  const Results forward = run_forward(reference_kernel(), c, SerialFor());
  for (const Pooling pooling : {Pooling::mean, Pooling::max}) {
    const TileRequest request{0, 0, 0, 70, 0, 5000, 2300, pooling};
    const std::vector<float> cells = run_tile(kernel(), c.problem, forward, request, SerialFor());
    const std::vector<float> expected = run_tile(reference_kernel(), c.problem, forward, request, SerialFor());
    const double most = static_cast<double>(*std::max_element(expected.begin(), expected.end()));
    EXPECT_TRUE(all_near(cells, expected, 1e-5 * most));
    const TileRequest second{0, 0, 0, 70, 2300, 4600, 2300, pooling};
    EXPECT_TRUE(same_bits(run_tile(kernel(), c.problem, forward, second, SerialFor()), {cells[1]}));
  }
}

TEST(LongCells, OfGridsArePooledFromSeveralBlocks) {
  const AttentionCase c(long_spec(5000));
  const Results forward = run_forward(reference_kernel(), c, SerialFor());
  const MapResults actual = run_map_statistics(kernel(), c.problem, forward, {3, 4500}, SerialFor());
  const MapResults expected = run_map_statistics(reference_kernel(), c.problem, forward, {3, 4500}, SerialFor());
  for (const auto grid : {&MapResults::mean, &MapResults::max}) {
    EXPECT_GT((expected.*grid)[3], 0);
    EXPECT_GT((expected.*grid)[4], 0);
    for (size_t i = 0; i < 9; ++i) {
      EXPECT_LE(difference((actual.*grid)[i], (expected.*grid)[i]), 2.1 * half_rounding((expected.*grid)[i])) << i;
    }
  }
}

TEST(Launches, OfMapStatisticsMayBeOfOneHeadEach) {
  CaseSpec spec = long_spec(1100);  // more pieces than a pass of the emulator's has blocks
  spec.q_heads = spec.kv_heads = 3;
  const AttentionCase c(spec);
  const Results forward = run_forward(reference_kernel(), c, SerialFor());
  const MapResults all = run_map_statistics(kernel(), c.problem, forward, {6, 200}, SerialFor());
  AttentionProblem last = c.problem;
  last.q_heads = last.kv_heads = 1;
  last.q.data = last.q.row(0, 2, 0);
  last.k.data = last.k.row(0, 2, 0);
  Results rows = forward;
  for (auto array : {&Results::row_max, &Results::log_sum})
    (rows.*array).erase((rows.*array).begin(), (rows.*array).begin() + 140);
  const MapResults one = run_map_statistics(kernel(), last, rows, {6, 200}, SerialFor());
  for (const NamedMapArray& named : map_arrays()) {
    const auto &a = all.*named.array, &b = one.*named.array;
    EXPECT_TRUE(same_bits(std::vector<float>(a.end() - static_cast<std::ptrdiff_t>(b.size()), a.end()), b))
        << named.name;
  }
}

}  // namespace
}  // namespace headscope::cuda
