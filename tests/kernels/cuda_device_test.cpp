// What the CUDA kernels are built from, on the emulator: fragments, planes, score tiles; and that the emulator finds
// the mistakes it is there to find.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "kernels/cuda/scores.cuh"

namespace headscope::cuda {
namespace {

using emulator::EmulationError;

std::vector<float> random_numbers(size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> numbers(count);
  for (float& number : numbers) number = normal(random);
  return numbers;
}

TEST(Planes, ThreeOfThemHoldAnF32) {
  for (const float x : {0.0F, 1.0F, -3.14159274F, 1e-20F, 16777215.0F, -1e30F}) {
    uint32_t pairs[3];
    split(x, 2 * x, pairs);
    EXPECT_EQ(first_bf16(pairs[0]) + (first_bf16(pairs[1]) + first_bf16(pairs[2])), x);
    EXPECT_EQ(second_bf16(pairs[0]) + (second_bf16(pairs[1]) + second_bf16(pairs[2])), 2 * x);
  }
}

TEST(Planes, PairsGoFromSmallToLarge) {
  const std::vector<std::pair<int, int>> expected{{2, 0}, {1, 1}, {0, 2}, {1, 0}, {0, 1}, {0, 0}};
  for (int i = 0; i < plane_pairs<3>(); ++i) {
    const PlanePair pair = plane_pair(3, i);
    EXPECT_EQ(std::pair(pair.query, pair.key), expected[static_cast<size_t>(i)]);
  }
  EXPECT_EQ(plane_pairs<1>(), 1);
}

/// 32 queries and 32 keys of `dim` numbers: warp w has 16 queries, all keys.
struct ScoreParams {
  const float* q;
  const float* k;
  float* dots;  ///< [32][32]
  int dim;
  bool plain;  ///< one plane
};

constexpr int tile_rows = 32;

template <int kPlanes>
void score_tile(const ScoreParams& p) {
  SharedPlanes queries{reinterpret_cast<uint16_t*>(shared_memory()), tile_rows, padded_dim(p.dim), kPlanes};
  SharedPlanes keys = queries;
  keys.data += queries.bytes() / sizeof(uint16_t);
  const auto fill = [&](const SharedPlanes& to, const float* from) {
    fill_planes<kPlanes>(
        to, p.dim,
        [&](int index) {
          return GlobalRow{from + index * p.dim, Element::f32};
        },
        [](int, const GlobalRow& row, int dim) { return row.at(dim); });
  };
  fill(queries, p.q);
  fill(keys, p.k);
  block_barrier();
  float dots[4][4];
  multiply_scores<kPlanes>(queries, 16 * warp_index(), keys, 0, dots);
  const int g = lane_index() / 4, t = lane_index() % 4;
  for (int n = 0; n < 4; ++n) {
    for (int i = 0; i < 4; ++i)
      p.dots[(16 * warp_index() + g + i / 2 * 8) * tile_rows + 8 * n + 2 * t + i % 2] = dots[n][i];
  }
}

void score_kernel(ScoreParams p) { p.plain ? score_tile<1>(p) : score_tile<3>(p); }

/// The largest error of the dot products, of numbers of about 3 times 3 times sqrt(dim).
double score_error(int dim, bool plain, const std::vector<float>& q, const std::vector<float>& k) {
  std::vector<float> dots(tile_rows * tile_rows);
  launch("score_kernel", score_kernel, {}, 64, current_limits().block_bytes, nullptr,
         ScoreParams{q.data(), k.data(), dots.data(), dim, plain});
  double worst = 0;
  for (int i = 0; i < tile_rows; ++i) {
    for (int j = 0; j < tile_rows; ++j) {
      double exact = 0;
      for (int d = 0; d < dim; ++d)
        exact += double{q[static_cast<size_t>(i * dim + d)]} * double{k[static_cast<size_t>(j * dim + d)]};
      worst = std::max(worst, std::abs(exact - double{dots[static_cast<size_t>(i * tile_rows + j)]}));
    }
  }
  return worst;
}

TEST(ScoreTile, ThreePlanesAreAsGoodAsF32) {
  for (const int dim : {16, 64, 80, 13}) {
    const auto q = random_numbers(static_cast<size_t>(tile_rows * dim), 1), k = random_numbers(q.size(), 2);
    EXPECT_LT(score_error(dim, false, q, k), 9 * std::sqrt(dim) * 4e-6) << dim;
  }
}

TEST(ScoreTile, OnePlaneIsExactForBf16) {
  std::vector<float> q = random_numbers(tile_rows * 64, 1), k = random_numbers(q.size(), 2);
  const double rounded = score_error(64, true, q, k);
  for (std::vector<float>* numbers : {&q, &k}) {
    for (float& number : *numbers) number = from_bf16(to_bf16(number));
  }
  EXPECT_LT(score_error(64, true, q, k), 3e-5);
  EXPECT_GT(rounded, 1e-2);
}

struct Values {
  float* out;
};

void transposed_kernel(Values p) {
  auto* matrix = reinterpret_cast<uint16_t*>(shared_memory());  // [16][16], number = 16 row + column
  for (int i = thread_index(); i < 256; i += block_threads()) matrix[i] = to_bf16(static_cast<float>(i));
  block_barrier();
  uint32_t r[4];
  const int lane = lane_index();
  load_matrices_transposed(r, matrix + (lane % 16) * 16 + lane / 16 * 8);
  for (int m = 0; m < 4; ++m) {
    p.out[8 * lane + 2 * m] = first_bf16(r[m]);
    p.out[8 * lane + 2 * m + 1] = second_bf16(r[m]);
  }
}

TEST(Emulator, TransposedMatricesGiveColumns) {
  std::vector<float> out(256);
  launch("transposed", transposed_kernel, {}, 32, 512, nullptr, Values{out.data()});
  for (int lane = 0; lane < 32; ++lane) {
    const int g = lane / 4, t = lane % 4;
    for (int m = 0; m < 4; ++m) {  // matrices: rows 0-7, rows 8-15, then the same of columns 8-15
      const int row = m % 2 * 8 + 2 * t, column = m / 2 * 8 + g;
      EXPECT_EQ(out[static_cast<size_t>(8 * lane + 2 * m)], static_cast<float>(16 * row + column));
      EXPECT_EQ(out[static_cast<size_t>(8 * lane + 2 * m + 1)], static_cast<float>(16 * (row + 1) + column));
    }
  }
}

TEST(Emulator, CopiesHappenWhenTheyAreWaitedFor) {
  alignas(16) static constexpr float source[4] = {1, 2, 3, 4};
  std::vector<float> out(3);
  launch(
      "copies",
      +[](Values p) {
        auto* shared = reinterpret_cast<float*>(shared_memory());
        if (thread_index() == 0) {
          copy_async(shared, source, true);
          commit_copies();
          p.out[0] = shared[1];
          wait_for_copies<1>();
          p.out[1] = shared[1];
          wait_for_copies<0>();
          p.out[2] = shared[1];
        }
      },
      {}, 32, 64, nullptr, Values{out.data()});
  EXPECT_TRUE(std::isnan(out[0]));
  EXPECT_TRUE(std::isnan(out[1]));
  EXPECT_EQ(out[2], 2);
}

TEST(Emulator, FindsAMissingBarrier) {
  std::vector<float> out(64);
  launch(
      "race",
      +[](Values p) {
        auto* shared = reinterpret_cast<float*>(shared_memory());
        shared[thread_index()] = 1;
        p.out[thread_index()] = shared[63 - thread_index()];
      },
      {}, 64, 256, nullptr, Values{out.data()});
  EXPECT_TRUE(std::any_of(out.begin(), out.end(), [](float value) { return std::isnan(value); }));
}

TEST(Emulator, FindsLanesThatDoNotMeet) {
  const auto kernel = +[](Values) {
    if (lane_index() < 7) warp_barrier();
  };
  EXPECT_THROW(launch("apart", kernel, {}, 32, 0, nullptr, Values{}), EmulationError);
  const auto mixed = +[](Values) { lane_index() < 7 ? warp_barrier() : static_cast<void>(shuffle_xor(1, 1)); };
  EXPECT_THROW(launch("mixed", mixed, {}, 32, 0, nullptr, Values{}), EmulationError);
}

TEST(Emulator, FindsWritesBehindSharedMemory) {
  const auto kernel = +[](Values) { shared_memory()[64] = std::byte{1}; };
  EXPECT_THROW(launch("behind", kernel, {}, 32, 64, nullptr, Values{}), EmulationError);
}

}  // namespace
}  // namespace headscope::cuda
