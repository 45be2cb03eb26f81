// Sums of weights in thumbnails, and thumbnails of the largest size, for every kernel.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/kernels/kernel_test_name.h"
#include "tests/kernels/naive_attention.h"
#include "tests/support/compare.h"

namespace headscope::testing {
namespace {

struct Maps {
  std::vector<float> max;
  std::vector<int64_t> sum;

  Maps(const AttentionProblem& p, int64_t cells)
      : max(static_cast<size_t>(p.batch * p.q_heads * cells * cells)), sum(max.size()) {}
};

CaseSpec spec_of(int64_t q_len, int64_t kv_len, int64_t cells, int64_t bin) {
  CaseSpec spec = grouped_spec(q_len, kv_len);
  spec.key_dim = spec.value_dim = 24;
  spec.cells = cells;
  spec.bin = bin;
  return spec;
}

class ThumbnailSums : public ::testing::TestWithParam<AttentionKernel> {
 protected:
  /// Adds rows [begin, end) of the case to the maps, with no other output.
  void add_rows(const AttentionCase& c, int64_t begin, int64_t end, const ParallelFor& workers, Maps& maps) const {
    const AttentionProblem part = rows_of(c.problem, begin, end);
    AttentionOutput output;
    output.thumbnails = {maps.max.data(), c.spec.cells, c.spec.bin, maps.sum.data()};
    Guarded<std::byte> workspace(GetParam().forward_workspace(part, output, workers.workers()));
    GetParam().forward(part, output, workspace.span(), workers);
    EXPECT_TRUE(workspace.intact());
  }
  Maps maps_of(const AttentionCase& c) const {
    Maps maps(c.problem, c.spec.cells);
    add_rows(c, 0, c.problem.q_len, ThreadPool(3), maps);
    return maps;
  }
};

/// Sums of the naive map, in double.
std::vector<double> pooled_sums(const AttentionCase& c) {
  const AttentionProblem& p = c.problem;
  const std::vector<float> map = naive_attention(c).map;
  const int64_t cells = c.spec.cells, bin = c.spec.bin;
  std::vector<double> sums(static_cast<size_t>(p.batch * p.q_heads * cells * cells));
  for (int64_t row = 0; row < p.batch * p.q_heads * p.q_len; ++row) {
    const int64_t head = row / p.q_len, position = row % p.q_len + p.causal_offset;
    for (int64_t j = 0; j < p.kv_len; ++j) {
      if (position < 0 || position / bin >= cells || j / bin >= cells) continue;
      sums[static_cast<size_t>((head * cells + position / bin) * cells + j / bin)] +=
          double{map[static_cast<size_t>(row * p.kv_len + j)]};
    }
  }
  return sums;
}

TEST_P(ThumbnailSums, AreTheWeightsOfEachCell) {
  std::vector<CaseSpec> specs = {spec_of(150, 150, 64, 3), spec_of(40, 1300, 64, 21), spec_of(300, 300, 5, 16),
                                 spec_of(1, 2100, 64, 33), spec_of(30, 1040, 64, 16), spec_of(9, 1300, 80, 8),
                                 spec_of(9, 2100, 20, 64)};
  specs[1].scores = Scores::rising;
  specs[2].log_weights = LogWeights::holes;
  specs[2].window = 70;
  for (const CaseSpec& spec : specs) {
    const AttentionCase c(spec);
    const Maps maps = maps_of(c);
    const std::vector<double> expected = pooled_sums(c);
    for (size_t i = 0; i < expected.size(); ++i) {
      const double sum = static_cast<double>(maps.sum[i]) * Thumbnails::sum_unit;
      ASSERT_TRUE(difference(sum, expected[i]) <= 2e-6 * static_cast<double>(spec.bin))
          << "kv_len " << spec.kv_len << ", cell " << i << ": " << sum << ", expected " << expected[i];
    }
  }
}

TEST_P(ThumbnailSums, AddUpToTheSameBitsWhateverTheChunksAndWorkers) {
  for (const int64_t bin : {1, 7, 40}) {
    const AttentionCase c(spec_of(230, 1230, 64, bin));
    const Maps whole = maps_of(c);
    Maps chunks(c.problem, c.spec.cells);
    for (int64_t begin = 0; begin < 230; begin += 46) add_rows(c, begin, begin + 46, SerialFor(), chunks);
    EXPECT_TRUE(same_bits(chunks.sum, whole.sum)) << "bin " << bin;
    EXPECT_TRUE(same_bits(chunks.max, whole.max)) << "bin " << bin;
  }
}

TEST_P(ThumbnailSums, OfAllCellsAreTheRows) {
  const AttentionCase c(spec_of(600, 600, 64, 10));
  const Maps maps = maps_of(c);
  for (int64_t head = 0; head < 4; ++head) {
    double total = 0;
    for (int64_t i = 0; i < 64 * 64; ++i) total += static_cast<double>(maps.sum[static_cast<size_t>(head * 4096 + i)]);
    EXPECT_TRUE(difference(total * Thumbnails::sum_unit, 600) <= 1e-4);
  }
}

TEST_P(ThumbnailSums, ARowOfNaNStaysNaN) {
  AttentionCase c(spec_of(100, 100, 64, 2));
  const Maps sound = maps_of(c);
  Maps spoiled(c.problem, 64);
  const_cast<float*>(c.problem.q.row(0, 1, 50))[0] = std::numeric_limits<float>::quiet_NaN();
  add_rows(c, 0, 100, ThreadPool(2), spoiled);
  add_rows(AttentionCase(spec_of(100, 100, 64, 2)), 0, 100, ThreadPool(2), spoiled);
  for (size_t i = 0; i < sound.sum.size(); ++i) {
    const bool seen = i / (64 * 64) == 1 && i / 64 % 64 == 25 && i % 64 <= 25;
    ASSERT_EQ(spoiled.sum[i], seen ? Thumbnails::sum_of_nan : 2 * sound.sum[i]) << i;
  }
}

TEST_P(ThumbnailSums, TheLargestMapHasACellForEveryToken) {
  const AttentionCase c(spec_of(90, 1024, Thumbnails::max_cells, 1));
  const Maps maps = maps_of(c);
  const std::vector<float> map = naive_attention(c).map;
  for (int64_t i = 0; i < 90; ++i) {
    for (int64_t j = 0; j < 1024; ++j) {
      const auto cell = static_cast<size_t>((i + 934) * 1024 + j);
      const double weight = double{map[static_cast<size_t>(i * 1024 + j)]};
      ASSERT_TRUE(difference(maps.max[cell], weight) <= 2e-6) << i << ", " << j;
      ASSERT_TRUE(difference(static_cast<double>(maps.sum[cell]) * Thumbnails::sum_unit, weight) <= 2e-6);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, ThumbnailSums, ::testing::ValuesIn(f32_kernels()), kernel_test_name<AttentionKernel>);

}  // namespace
}  // namespace headscope::testing
