// Lengths and strides that do not fit into small numbers, for every kernel.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cmath>

#include "tests/kernels/conformance_check.h"
#include "tests/kernels/kernel_test_name.h"
#include "tests/kernels/map_case.h"
#include "tests/support/compare.h"

namespace headscope::testing {
namespace {

class Long : public ::testing::TestWithParam<AttentionKernel> {
 protected:
  const ThreadPool pool_{2};
};

/// The last three tokens of a long prompt.
CaseSpec last_rows() {
  CaseSpec spec;
  spec.q_len = 3;
  spec.kv_len = 131075;
  spec.offset = 131072;
  spec.key_dim = spec.value_dim = 16;
  spec.bin = 2049;
  return spec;
}

TEST(LongRows, Conform) { expect_conformance(last_rows()); }

TEST_P(Long, ThreeRowsAgainstManyKeys) {
  const AttentionCase c(last_rows());
  const Results expected = run_forward(reference_kernel(), c, pool_), actual = run_forward(GetParam(), c, pool_);
  for (const Pooling pooling : {Pooling::max, Pooling::mean}) {
    for (const int64_t bin : {1, 64, 4096}) {
      const TileRequest request{0, 0, 0, 3, 0, 131075, bin, pooling};
      EXPECT_TRUE(all_near(run_tile(GetParam(), c.problem, actual, request, pool_),
                           run_tile(reference_kernel(), c.problem, expected, request, pool_), 1e-7));
    }
  }
  const MapSpec spec{65, 2048, 18};
  const MapResults own = run_map_statistics(GetParam(), c.problem, actual, spec, pool_);
  const MapResults exact = run_map_statistics(reference_kernel(), c.problem, expected, spec, pool_);
  EXPECT_TRUE(all_near(own.mass, exact.mass, 1e-7));
  EXPECT_TRUE(all_near(own.histogram, exact.histogram, 2e-6));
  const std::vector<float> last_cells(exact.max.end() - 65, exact.max.end());
  EXPECT_TRUE(all_near(std::vector<float>(own.max.end() - 65, own.max.end()), last_cells, half_rounding(0.1)));
  EXPECT_GT(*std::max_element(last_cells.begin(), last_cells.end()), 0) << "the rows lie in the last row of cells";
}

/// Keys and queries at the far end of a long map, from log-sum-exps that somebody else has computed.
TEST_P(Long, ATileInTheFarCorner) {
  CaseSpec spec;
  spec.q_len = spec.kv_len = 131072;
  spec.key_dim = spec.value_dim = 8;
  const AttentionCase c(spec);
  Results known = Results::sized(c.problem, 1);
  std::fill(known.row_max.begin(), known.row_max.end(), 9.0F);
  std::fill(known.log_sum.begin(), known.log_sum.end(), 0.5F);
  for (const int64_t bin : {1, 8}) {
    const TileRequest corner{0, 0, 131072 - 100, 131072, 131072 - 300, 131072, bin, Pooling::max};
    const std::vector<float> expected = run_tile(reference_kernel(), c.problem, known, corner, pool_);
    const std::vector<float> cells = run_tile(GetParam(), c.problem, known, corner, pool_);
    EXPECT_TRUE(all_near(cells, expected, 4e-6 * *std::max_element(expected.begin(), expected.end())));
    EXPECT_GT(cells.back(), 0) << "the last row sees the last key";
    if (bin > 1) continue;
    EXPECT_EQ(cells[299], 0) << "the first row does not";
  }
}

/// Address space without memory behind it: pages come as they are written.
class SparseFloats {
 public:
  explicit SparseFloats(int64_t count) : bytes_(static_cast<size_t>(count) * sizeof(float)) {
    void* memory = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory != MAP_FAILED) data_ = static_cast<float*>(memory);
  }
  ~SparseFloats() {
    if (data_) munmap(data_, bytes_);
  }
  SparseFloats(const SparseFloats&) = delete;
  SparseFloats& operator=(const SparseFloats&) = delete;
  float* data() const { return data_; }

 private:
  size_t bytes_;
  float* data_ = nullptr;
};

/// Moves rows apart: copies them to `to`, one every `stride` elements.
InputRows spread(const InputRows& rows, int64_t count, int64_t dim, float* to, int64_t stride) {
  for (int64_t i = 0; i < count; ++i) std::copy_n(rows.row(0, 0, i), dim, to + i * stride);
  return {to, 0, 0, stride};
}

TEST_P(Long, RowsMoreThanTwoToThe31ElementsApart) {
  constexpr int64_t stride = (int64_t{1} << 31) + 5, rows = 40;
  CaseSpec spec;
  spec.q_len = spec.kv_len = rows;
  spec.key_dim = spec.value_dim = 20;
  const AttentionCase packed(spec);
  const SparseFloats memory(rows * stride);
  if (!memory.data()) GTEST_SKIP() << "the system does not give that much address space";
  AttentionCase apart = packed;
  apart.problem.q = spread(packed.problem.q, rows, 20, memory.data(), stride);
  apart.problem.k = spread(packed.problem.k, rows, 20, memory.data() + 100, stride);
  apart.problem.v = spread(packed.problem.v, rows, 20, memory.data() + 200, stride);
  const Results expected = run_forward(GetParam(), packed, pool_), actual = run_forward(GetParam(), apart, pool_);
  for (const NamedArray& array : result_arrays()) {
    EXPECT_TRUE(same_bits(actual.*array.array, expected.*array.array)) << array.name;
  }
  const TileRequest request{0, 0, 0, rows, 0, rows, 3, Pooling::mean};
  EXPECT_TRUE(same_bits(run_tile(GetParam(), apart.problem, expected, request, pool_),
                        run_tile(GetParam(), packed.problem, expected, request, pool_)));
  const MapResults near = run_map_statistics(GetParam(), packed.problem, expected, {8, 5}, pool_);
  const MapResults far = run_map_statistics(GetParam(), apart.problem, expected, {8, 5}, pool_);
  for (const NamedMapArray& named : map_arrays()) {
    EXPECT_TRUE(same_bits(far.*named.array, near.*named.array)) << named.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, Long, ::testing::ValuesIn(f32_kernels()), kernel_test_name<AttentionKernel>);

}  // namespace
}  // namespace headscope::testing
