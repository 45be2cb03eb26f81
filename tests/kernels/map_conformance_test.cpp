// Column masses, grids and distance histograms of every kernel against dense maps.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/kernels/conformance_cases.h"
#include "tests/kernels/map_case.h"
#include "tests/kernels/naive_attention.h"
#include "tests/kernels/tested_kernels.h"
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

class MapConformance {
 public:
  explicit MapConformance(const CaseSpec& spec) : case_(spec) {
    for (const AttentionKernel& kernel : fast_kernels()) forwards_.push_back(run_forward(kernel, case_, pool_));
  }

  void expect_holds() {
    for (const MapSpec& spec : specs()) {
      SCOPED_TRACE("bin " + std::to_string(spec.bin));
      expect_holds(spec);
    }
  }

 private:
  const AttentionCase case_;
  const ThreadPool pool_{3};
  const std::vector<float> naive_ = naive_attention(case_).map;
  const std::vector<float> backward_ = naive_attention(case_, {DotOrder::backward}).map;
  const Results reference_ = run_forward(reference_kernel(), case_, pool_);
  const std::vector<float> maps_ = reference_maps(case_.problem, reference_, pool_);
  std::vector<Results> forwards_;  ///< of the fast kernels

  MapResults pooled(const std::vector<float>& maps, const MapSpec& spec) const {
    return pool_dense_maps<float>(maps, case_.problem, spec);
  }

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
    if (tested_kernels().front().device == "cuda") {  // emulated, which takes its time: a quarter of them
      const size_t left_out = static_cast<size_t>(case_.problem.q_heads) % 2;
      for (size_t i = specs.size(); i-- > 0;) {
        if (i % 2 == left_out && specs.size() > 1) specs.erase(specs.begin() + static_cast<std::ptrdiff_t>(i));
      }
    }
    return specs;
  }

  void expect_holds(const MapSpec& spec) const {
    const MapResults exact = pool_dense_maps<double>(maps_, case_.problem, spec);
    const MapResults naive = pooled(naive_, spec), backward = pooled(backward_, spec);
    const MapResults reference = run_map_statistics(reference_kernel(), case_.problem, reference_, spec, pool_);
    for (const NamedMapArray& named : map_arrays()) {
      const double ulps = 2 * f32_ulp(exact.*named.array) + 1e-10;  // the maps are f32
      EXPECT_TRUE(near_map(reference, exact, named, ulps)) << "reference, " << named.name;
    }
    for (size_t i = 0; i < forwards_.size(); ++i) {
      const AttentionKernel kernel = fast_kernels()[i];
      SCOPED_TRACE(kernel.name);
      const MapResults three = run_map_statistics(kernel, case_.problem, forwards_[i], spec, pool_);
      const MapResults one = kernel.device == "cuda"  // whose work does not go to the caller's workers
                                 ? three
                                 : run_map_statistics(kernel, case_.problem, forwards_[i], spec, SerialFor());
      for (const NamedMapArray& named : map_arrays()) {
        EXPECT_TRUE(near_map(three, exact, named, tolerance(exact, naive, backward, named))) << named.name;
        EXPECT_TRUE(same_bits(one.*named.array, three.*named.array)) << named.name << " and the number of workers";
      }
    }
  }

  /// What rounding does is seen where two naive computations differ, too: one of them may be right by luck. A grid of a
  /// few cells may be so in both; there the weights of the map tell.
  double tolerance(const MapResults& exact, const MapResults& naive, const MapResults& backward,
                   const NamedMapArray& named) const {
    const auto &e = exact.*named.array, &n = naive.*named.array, &b = backward.*named.array;
    const double own = std::max({kernel_tolerance(n, e), kernel_tolerance(b, e), kernel_tolerance(n, b)});
    const double weights = 2 * largest_difference(std::span(naive_), std::span(backward_)) + 4 * f32_ulp(maps_);
    return slack_of(case_.spec) * std::max(own, weights);
  }
};

class MapCases : public ::testing::TestWithParam<CaseSpec> {};

TEST_P(MapCases, Hold) { MapConformance(GetParam()).expect_holds(); }

INSTANTIATE_TEST_SUITE_P(Kernels, MapCases, ::testing::ValuesIn(conformance_cases()),
                         [](const auto& test) { return test.param.name; });

TEST(MapCovering, EveryPairOfValuesHolds) {
  for (const CaseSpec& spec : covering_cases_in_time()) {
    SCOPED_TRACE(spec.name);
    MapConformance(spec).expect_holds();
    if (::testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace headscope::testing
