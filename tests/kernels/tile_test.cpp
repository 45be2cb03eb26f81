// What tiles promise each other and the forward pass, for every kernel.
#include <gtest/gtest.h>

#include <cmath>
#include <memory>

#include "tests/kernels/attention_case.h"
#include "tests/kernels/kernel_test_name.h"
#include "tests/support/compare.h"

namespace headscope::testing {
namespace {

CaseSpec map_spec() {
  CaseSpec spec;
  spec.q_heads = 4;
  spec.kv_heads = 2;
  spec.q_len = 230;
  spec.kv_len = 530;
  spec.offset = 300;
  spec.key_dim = 40;
  spec.window = 400;
  spec.soft_cap = 8;
  spec.alibi = true;
  return spec;
}

class Tiles : public ::testing::TestWithParam<AttentionKernel> {
 protected:
  const AttentionKernel& kernel_ = GetParam();
  const AttentionCase case_{map_spec()};
  const ThreadPool pool_{2};
  const Results forward_ = run_forward(kernel_, case_, pool_);

  std::vector<float> tile(const TileRequest& request) const {
    return run_tile(kernel_, case_.problem, forward_, request, pool_);
  }
  TileRequest whole(int64_t bin, Pooling pooling) const { return {0, 3, 0, 230, 0, 530, bin, pooling}; }
};

TEST_P(Tiles, APartIsASliceOfTheMapToTheBit) {
  const std::vector<float> map = tile(whole(1, Pooling::max));
  const TileRequest part{0, 3, 101, 222, 7, 529, 1, Pooling::mean};
  std::vector<float> slice;
  for (int64_t i = part.row_begin; i < part.row_end; ++i) {
    slice.insert(slice.end(), map.begin() + i * 530 + part.key_begin, map.begin() + i * 530 + part.key_end);
  }
  EXPECT_TRUE(same_bits(tile(part), slice));
}

TEST_P(Tiles, APartOfACoarseMapIsASliceToTheBit) {
  for (const Pooling pooling : {Pooling::max, Pooling::mean}) {
    for (const int64_t bin : {3, 8, 20, 70, 265}) {
      const TileRequest all = whole(bin, pooling);
      const TileRequest part{0, 3, bin * (bin < 100 ? 2 : 0), 230, bin, bin * (bin < 100 ? 4 : 2), bin, pooling};
      const std::vector<float> map = tile(all), cells = tile(part);
      std::vector<float> slice;
      for (int64_t r = part.row_begin / bin; r < all.rows(); ++r) {
        const auto from = map.begin() + r * all.columns() + part.key_begin / bin;
        slice.insert(slice.end(), from, from + part.columns());
      }
      EXPECT_TRUE(same_bits(cells, slice)) << "bin " << bin;
    }
  }
}

TEST_P(Tiles, EachZoomIsThePoolOfTheOneBefore) {
  for (const Pooling pooling : {Pooling::max, Pooling::mean}) {
    for (int64_t bin = 2; bin <= 512; bin *= 2) {
      // 512 keys, so that all cells of a row are as wide and means pool without weights, but for the last rows.
      const TileRequest fine{0, 1, 0, 224, 0, 512, bin / 2, pooling}, coarse{0, 1, 0, 224, 0, 512, bin, pooling};
      if (pooling == Pooling::mean && 224 % bin != 0) break;
      const std::vector<float> before = tile(fine);
      std::vector<float> pooled(static_cast<size_t>(coarse.rows() * coarse.columns()));
      for (int64_t i = 0; i < fine.rows() * fine.columns(); ++i) {
        const int64_t r = i / fine.columns() / 2, c = i % fine.columns() / 2;
        float& cell = pooled[static_cast<size_t>(r * coarse.columns() + c)];
        const float weight = before[static_cast<size_t>(i)];
        cell = pooling == Pooling::max ? std::max(cell, weight) : cell + weight / 4;
      }
      if (pooling == Pooling::max) {
        EXPECT_TRUE(same_bits(tile(coarse), pooled)) << "bin " << bin;
      } else {
        EXPECT_TRUE(all_near(tile(coarse), pooled, 1e-7)) << "bin " << bin;
      }
    }
  }
}

TEST_P(Tiles, ABatchGivesTheBitsOfSingleTiles) {
  const std::vector<TileRequest> requests = {{0, 3, 0, 230, 0, 530, 1, Pooling::max},
                                             {0, 0, 100, 101, 20, 29, 1, Pooling::mean},
                                             {0, 2, 0, 230, 0, 530, 16, Pooling::mean},
                                             {0, 1, 5, 225, 9, 500, 300, Pooling::max},
                                             {0, 2, 7, 207, 0, 530, 7, Pooling::max}};
  std::vector<std::unique_ptr<Guarded<float>>> memory;
  std::vector<float*> cells;
  for (const TileRequest& request : requests) {
    memory.push_back(std::make_unique<Guarded<float>>(static_cast<size_t>(request.rows() * request.columns())));
    cells.push_back(memory.back()->data());
  }
  Guarded<std::byte> workspace(kernel_.tiles_workspace(case_.problem, requests, pool_.workers()));
  EXPECT_TRUE(kernel_.tiles(case_.problem, forward_.row_max.data(), forward_.log_sum.data(), requests, cells,
                            workspace.span(), pool_, {}));
  EXPECT_TRUE(workspace.intact());
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_TRUE(memory[i]->intact());
    EXPECT_TRUE(same_bits(std::vector<float>(cells[i], cells[i] + memory[i]->size()), tile(requests[i]))) << i;
  }
}

TEST_P(Tiles, NoRequestsAreNoWork) {
  Guarded<std::byte> workspace(kernel_.tiles_workspace(case_.problem, {}, 1));
  EXPECT_TRUE(kernel_.tiles(case_.problem, nullptr, nullptr, {}, {}, workspace.span(), SerialFor(), {}));
}

TEST_P(Tiles, ATileOfNoRowsIsNoWork) {
  const std::vector<TileRequest> requests = {{0, 1, 7, 7, 0, 530}, {0, 1, 7, 9, 0, 530, 10, Pooling::max}};
  std::vector<float> cells(53);
  const std::vector<float*> targets = {nullptr, cells.data()};
  Guarded<std::byte> workspace(kernel_.tiles_workspace(case_.problem, requests, 2));
  EXPECT_TRUE(kernel_.tiles(case_.problem, forward_.row_max.data(), forward_.log_sum.data(), requests, targets,
                            workspace.span(), pool_, {}));
  EXPECT_TRUE(same_bits(cells, tile(requests[1])));
}

TEST_P(Tiles, WorkersDoNotChangeABit) {
  for (const int64_t bin : {1, 5, 100}) {
    const TileRequest request = whole(bin, Pooling::mean);
    const std::vector<float> expected = tile(request);
    for (const int workers : {1, 3, 7}) {
      const ThreadPool pool(workers);
      EXPECT_TRUE(same_bits(run_tile(kernel_, case_.problem, forward_, request, pool), expected)) << workers;
    }
  }
}

TEST_P(Tiles, ACoarseMaximumIsThePoolOfTheFineToTheBit) {
  const std::vector<float> map = tile(whole(1, Pooling::max));
  for (const int64_t bin : {2, 7, 64, 128, 1000}) {
    const TileRequest request = whole(bin, Pooling::max);
    std::vector<float> pooled(static_cast<size_t>(request.rows() * request.columns()));
    for (int64_t i = 0; i < 230; ++i) {
      for (int64_t j = 0; j < 530; ++j) {
        float& cell = pooled[static_cast<size_t>(i / bin * request.columns() + j / bin)];
        cell = std::max(cell, map[static_cast<size_t>(i * 530 + j)]);
      }
    }
    EXPECT_TRUE(same_bits(tile(request), pooled)) << "bin " << bin;
  }
}

TEST_P(Tiles, ACoarseMeanIsThePoolOfTheFine) {
  const std::vector<float> map = tile(whole(1, Pooling::mean));
  for (const int64_t bin : {2, 7, 64, 128, 1000}) {
    const TileRequest request = whole(bin, Pooling::mean);
    std::vector<double> sums(static_cast<size_t>(request.rows() * request.columns())), places(sums.size());
    for (int64_t i = 0; i < 230; ++i) {
      for (int64_t j = 0; j < 530; ++j) {
        const auto cell = static_cast<size_t>(i / bin * request.columns() + j / bin);
        sums[cell] += double{map[static_cast<size_t>(i * 530 + j)]};
        places[cell] += 1;
      }
    }
    for (size_t i = 0; i < sums.size(); ++i) sums[i] /= places[i];
    EXPECT_TRUE(all_near(tile(request), sums, 1e-7)) << "bin " << bin;
  }
}

TEST_P(Tiles, RowsAddUpToOne) {
  for (const int64_t bin : {1, 3, 64}) {
    const TileRequest request = whole(bin, Pooling::mean);
    const std::vector<float> cells = tile(request);
    for (int64_t r = 0; r < request.rows(); ++r) {
      double sum = 0;
      for (int64_t c = 0; c < request.columns(); ++c) {
        const int64_t width = std::min(bin, 530 - c * bin);
        sum += double{cells[static_cast<size_t>(r * request.columns() + c)]} * static_cast<double>(width);
      }
      EXPECT_TRUE(difference(sum, 1) <= 2e-6) << "row " << r << " of bin " << bin << ": " << sum;
    }
  }
}

TEST_P(Tiles, ThumbnailIsTheMapPooledByMaximum) {
  CaseSpec spec = map_spec();
  spec.offset = 0;
  spec.cells = 16;
  spec.bin = 20;
  const AttentionCase square(spec);
  const Results forward = run_forward(kernel_, square, pool_);
  const TileRequest request{0, 2, 0, 230, 0, 320, 20, Pooling::max};
  const std::vector<float> cells = run_tile(kernel_, square.problem, forward, request, pool_);
  const std::vector<float> thumbnail(forward.thumbnails.begin() + 2 * 256,
                                     forward.thumbnails.begin() + 2 * 256 + 12 * 16);
  EXPECT_TRUE(all_near(thumbnail, cells, 5e-7));
}

/// Where each row sees one key, its weight is 1, however large its score and its slope: the log-sum-exp keeps the
/// digits that one float would lose.
TEST_P(Tiles, TheOnlyKeyHasWeightOne) {
  CaseSpec spec;
  spec.q_heads = 3;
  spec.q_len = spec.kv_len = 700;
  spec.key_dim = 40;
  spec.window = 1;
  spec.alibi = true;
  spec.scores = Scores::large;
  AttentionCase c(spec);
  c.slopes = {0.3F, 0.07F, 1.1F};  // not powers of two, with which nothing would be rounded
  c.problem.alibi_slopes = c.slopes.data();
  const Results forward = run_forward(kernel_, c, pool_);
  for (int64_t head = 0; head < 3; ++head) {
    const TileRequest request{0, head, 0, 700, 0, 700, 1, Pooling::max};
    const std::vector<float> map = run_tile(kernel_, c.problem, forward, request, pool_);
    for (size_t i = 0; i < 700; ++i) ASSERT_NEAR(map[i * 701], 1, 2e-6) << "row " << i << " of head " << head;
  }
}

/// One head's rows picked out of a longer problem, as the tile lane asks for them.
TEST_P(Tiles, APickedHeadGivesTheSameBits) {
  AttentionProblem one = rows_of(case_.problem, 50, 120);
  one.q_heads = one.kv_heads = 1;
  one.q.data = one.q.row(0, 3, 0);
  one.k.data = one.k.row(0, 1, 0);
  one.v.data = one.v.row(0, 1, 0);
  one.alibi_slopes += 3;
  Results rows = Results::sized(one, 1);
  std::copy_n(forward_.row_max.begin() + 3 * 230 + 50, 70, rows.row_max.begin());
  std::copy_n(forward_.log_sum.begin() + 3 * 230 + 50, 70, rows.log_sum.begin());
  const TileRequest picked{0, 0, 0, 70, 0, 530, 1, Pooling::max};
  EXPECT_TRUE(same_bits(run_tile(kernel_, one, rows, picked, pool_), tile({0, 3, 50, 120, 0, 530, 1, Pooling::max})));
}

INSTANTIATE_TEST_SUITE_P(Kernels, Tiles, ::testing::ValuesIn(f32_kernels()), kernel_test_name<AttentionKernel>);

}  // namespace
}  // namespace headscope::testing
