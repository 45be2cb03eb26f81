// Column masses, grids and distance histograms of every kernel against dense maps.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/kernels/conformance_cases.h"
#include "tests/kernels/map_case.h"
#include "tests/kernels/naive_attention.h"
#include "tests/support/compare.h"

namespace headscope::testing {
namespace {

/// The maps of all heads, [batch, q_heads, q_len, kv_len], from tiles of the reference.
std::vector<float> reference_maps(const AttentionProblem& p, const Results& forward, const ParallelFor& parallel) {
  std::vector<float> maps;
  for (int64_t head = 0; head < p.batch * p.q_heads; ++head) {
    const TileRequest whole{head / p.q_heads, head % p.q_heads, 0, p.q_len, 0, p.kv_len, 1, Pooling::max};
    const std::vector<float> map = run_tile(reference_kernel(), p, forward, whole, parallel);
    maps.insert(maps.end(), map.begin(), map.end());
  }
  return maps;
}

/// Passes when `actual`, rounded to f16 where it is a grid, is within `tolerance` of what is expected.
::testing::AssertionResult near_map(const MapResults& actual, const MapResults& expected, const NamedMapArray& named,
                                    double tolerance) {
  const auto& a = actual.*named.array;
  const auto& e = expected.*named.array;
  const bool grid = named.array == &MapResults::mean || named.array == &MapResults::max;
  if (!grid) return all_near(a, e, tolerance);
  if (a.size() != e.size()) return ::testing::AssertionFailure() << a.size() << " cells, expected " << e.size();
  for (size_t i = 0; i < a.size(); ++i) {
    const double allowed = tolerance + half_rounding(double{e[i]} + tolerance);
    if (!(difference(a[i], e[i]) <= allowed)) {
      return ::testing::AssertionFailure()
             << "[" << i << "]: " << a[i] << ", expected " << e[i] << " within " << allowed;
    }
  }
  return ::testing::AssertionSuccess();
}

class MapConformance : public ::testing::TestWithParam<CaseSpec> {
 protected:
  const AttentionCase case_{GetParam()};
  const ThreadPool pool_{3};
  const NaiveAttention naive_ = naive_attention(case_);
  std::vector<Results> forwards_;  ///< of the fast kernels
  const Results reference_ = run_forward(reference_kernel(), case_, pool_);
  const std::vector<float> maps_ = reference_maps(case_.problem, reference_, pool_);

  /// Grids that cut the keys, that end with them and that go on behind them; of cells below and above a vector, a group
  /// of rows, a block and a task. Half of them for each case.
  std::vector<MapSpec> specs() const {
    const int64_t n = std::max(case_.problem.kv_len, case_.problem.q_len + case_.problem.causal_offset);
    std::vector<MapSpec> specs;
    bool turn = (case_.problem.q_len + case_.problem.key_dim / 8) % 2 == 0;
    for (const int64_t bin : {1, 3, 16, 50, 200, 600, 1500}) {
      const int64_t whole = (n + bin - 1) / bin;
      turn = !turn;
      if (turn || (bin > 16 && bin > 2 * n)) continue;
      const auto most = static_cast<int64_t>(std::sqrt(1e6 / static_cast<double>(case_.problem.q_heads)));
      const int64_t cells = std::min(most, bin % 2 == 0 ? whole + 1 : std::max<int64_t>(1, whole - 1));
      specs.push_back({cells, bin, bin == 3 ? 4 : 12});
    }
    return specs;
  }
};

TEST_P(MapConformance, Holds) {
  for (const AttentionKernel& kernel : fast_kernels()) forwards_.push_back(run_forward(kernel, case_, pool_));
  for (const MapSpec& spec : specs()) {
    SCOPED_TRACE("bin " + std::to_string(spec.bin));
    const MapResults exact = pool_dense_maps<double>(maps_, case_.problem, spec);
    const MapResults rounded = pool_dense_maps<float>(naive_.map, case_.problem, spec);
    const MapResults reference = run_map_statistics(reference_kernel(), case_.problem, reference_, spec, pool_);
    for (const NamedMapArray& named : map_arrays()) {
      const double ulps = 2 * f32_ulp(exact.*named.array) + 1e-10;  // the maps are f32
      EXPECT_TRUE(near_map(reference, exact, named, ulps)) << "reference, " << named.name;
    }
    for (size_t i = 0; i < forwards_.size(); ++i) {
      const AttentionKernel kernel = fast_kernels()[i];
      SCOPED_TRACE(kernel.name);
      const MapResults three = run_map_statistics(kernel, case_.problem, forwards_[i], spec, pool_);
      const MapResults one = run_map_statistics(kernel, case_.problem, forwards_[i], spec, SerialFor());
      for (const NamedMapArray& named : map_arrays()) {
        const double tolerance = kernel_tolerance(rounded.*named.array, exact.*named.array);
        EXPECT_TRUE(near_map(three, exact, named, tolerance)) << named.name;
        EXPECT_TRUE(same_bits(one.*named.array, three.*named.array)) << named.name << " and the number of workers";
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, MapConformance, ::testing::ValuesIn(conformance_cases()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace headscope::testing
