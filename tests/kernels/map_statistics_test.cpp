// What column masses, grids and distance histograms promise, for every kernel.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/kernels/kernel_test_name.h"
#include "tests/kernels/map_case.h"
#include "tests/kernels/stop_at_second_task.h"
#include "tests/support/compare.h"

namespace headscope::testing {
namespace {

constexpr float nan = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();

CaseSpec map_spec() {
  CaseSpec spec;
  spec.q_heads = 4;
  spec.kv_heads = 4;
  spec.q_len = 230;
  spec.kv_len = 530;
  spec.offset = 300;
  spec.key_dim = 40;
  spec.window = 400;
  spec.soft_cap = 8;
  return spec;
}

class MapStatisticsOf : public ::testing::TestWithParam<AttentionKernel> {
 protected:
  const AttentionKernel& kernel_ = GetParam();
  const ThreadPool pool_{2};

  MapResults run(const AttentionCase& c, const MapSpec& spec) const {
    return run_map_statistics(kernel_, c.problem, run_forward(kernel_, c, pool_), spec, pool_);
  }
};

double sum(const std::vector<float>& values, size_t begin, size_t end) {
  double total = 0;
  for (size_t i = begin; i < end; ++i) total += double{values[i]};
  return total;
}

TEST_P(MapStatisticsOf, EachRowCountsOnce) {
  CaseSpec spec = map_spec();
  spec.offset = -30;  // the first 30 rows are empty, and the keys behind 199 see nobody
  for (const int64_t bin : {1, 7, 53, 600}) {
    const int64_t cells = (530 + bin - 1) / bin;
    const MapResults r = run(AttentionCase(spec), {cells, bin, 10});
    for (size_t head = 0; head < 4; ++head) {
      EXPECT_NEAR(sum(r.mass, head * 530, (head + 1) * 530), 200, 2e-5);
      EXPECT_NEAR(sum(r.histogram, head * 10, (head + 1) * 10), 200, 2e-5);
      double grid = 0;
      for (int64_t i = 0; i < cells * cells; ++i) {
        const int64_t height = std::min(bin, 200 - i / cells * bin), width = std::min(bin, 530 - i % cells * bin);
        const size_t at = head * static_cast<size_t>(cells * cells) + static_cast<size_t>(i);
        grid += double{r.mean[at]} * static_cast<double>(std::max<int64_t>(0, height) * width);
      }
      EXPECT_NEAR(grid, 200, 200 * 3e-4) << "bin " << bin;  // f16 keeps 11 bits
    }
  }
}

TEST_P(MapStatisticsOf, GridsAreTilesRoundedToHalf) {
  const AttentionCase c(map_spec());
  const Results forward = run_forward(kernel_, c, pool_);
  for (const int64_t bin : {1, 3, 15, 60, 300}) {
    const int64_t cells = (530 + bin - 1) / bin;
    const MapResults r = run_map_statistics(kernel_, c.problem, forward, {cells, bin}, pool_);
    for (const Pooling pooling : {Pooling::max, Pooling::mean}) {
      const TileRequest request{0, 2, 0, 230, 0, 530, bin, pooling};
      const std::vector<float> tile = run_tile(kernel_, c.problem, forward, request, pool_);
      const std::vector<float>& grid = pooling == Pooling::max ? r.max : r.mean;
      const int64_t first = (2 * cells + 300 / bin) * cells;  // rows of cells before position 300 are 0
      for (size_t i = 0; i < tile.size(); ++i) {
        const double cell = grid[static_cast<size_t>(first) + i];
        ASSERT_TRUE(difference(cell, tile[i]) <= half_rounding(tile[i]) * 1.01) << "cell " << i << " of bin " << bin;
      }
    }
  }
}

TEST_P(MapStatisticsOf, PermutedHeadsPermuteTheResults) {
  const AttentionCase c(map_spec());
  AttentionProblem reversed = c.problem;
  for (auto rows : {&AttentionProblem::q, &AttentionProblem::k, &AttentionProblem::v}) {
    (reversed.*rows).data = (reversed.*rows).row(0, 3, 0);
    (reversed.*rows).head_stride = -(reversed.*rows).head_stride;
  }
  const Results forward = run_forward(kernel_, c, pool_);
  Results turned = forward;
  for (auto array : {&Results::row_max, &Results::log_sum}) {
    for (int64_t head = 0; head < 4; ++head) {
      std::copy_n((forward.*array).begin() + head * 230, 230, (turned.*array).begin() + (3 - head) * 230);
    }
  }
  const MapResults straight = run_map_statistics(kernel_, c.problem, forward, {14, 40}, pool_);
  const MapResults back = run_map_statistics(kernel_, reversed, turned, {14, 40}, pool_);
  for (const NamedMapArray& named : map_arrays()) {
    const auto &a = straight.*named.array, &b = back.*named.array;
    const auto width = static_cast<int64_t>(a.size() / 4);
    for (int64_t head = 0; head < 4; ++head) {
      EXPECT_TRUE(same_bits(std::vector<float>(a.begin() + head * width, a.begin() + (head + 1) * width),
                            std::vector<float>(b.begin() + (3 - head) * width, b.begin() + (4 - head) * width)))
          << named.name << " of head " << head;
    }
  }
}

/// Keys of 0: each row spreads its weight evenly.
TEST_P(MapStatisticsOf, UniformAttentionByHand) {
  CaseSpec spec;
  spec.q_len = spec.kv_len = 300;
  AttentionCase c(spec);
  std::fill(c.k.begin(), c.k.end(), 0.0F);
  const MapResults r = run(c, {3, 100, 10});
  double mass = 0, apart = 0;
  for (int64_t j = 299; j >= 0; --j) {
    mass += 1.0 / static_cast<double>(j + 1);  // row j is the first that sees key j
    ASSERT_NEAR(r.mass[static_cast<size_t>(j)], mass, 1e-5) << j;
    if (j >= 2) apart += (j >= 3 ? 2.0 : 1.0) / static_cast<double>(j + 1);
  }
  EXPECT_NEAR(r.histogram[0], mass, 1e-5) << "each row has its own key at distance 0";
  EXPECT_NEAR(r.histogram[1], mass - 1, 1e-5) << "and all but the first one at distance 1";
  EXPECT_NEAR(r.histogram[2], apart, 1e-5) << "distances 2 and 3";
  EXPECT_EQ(r.max[0], 1);
  EXPECT_NEAR(r.max[3], 1.0 / 101, half_rounding(0.01));
  EXPECT_NEAR(r.mean[0], 0.01, half_rounding(0.01)) << "rows 0 to 99 have all their weight there";
  EXPECT_EQ(r.mean[1], 0);
  double row = 0;
  for (int64_t i = 100; i < 200; ++i) row += 1.0 / static_cast<double>(i + 1);
  EXPECT_NEAR(r.mean[3], row / 100, half_rounding(0.01));
}

/// NaN in what holds a key that the row sees, the same bits elsewhere.
TEST_P(MapStatisticsOf, ARowOfNaNReachesOnlyWhatItTouches) {
  constexpr int64_t row = 140, length = 300;
  CaseSpec spec;
  spec.q_heads = 2;
  spec.q_len = spec.kv_len = length;
  spec.window = 60;
  AttentionCase c(spec);
  c.log_weight.assign(2 * length, 0.0F);
  c.log_weight[length + 100] = -infinity;
  c.problem.key_log_weight = c.log_weight.data();
  const auto sees = [](int64_t key) { return key > row - 60 && key <= row && key != 100; };
  Results forward = run_forward(kernel_, c, pool_), spoiled = forward;
  spoiled.log_sum[length + row] = nan;
  for (const int64_t bin : {1, 9, 64, 400}) {
    const int64_t cells = (length + bin - 1) / bin;
    const MapResults clean = run_map_statistics(kernel_, c.problem, forward, {cells, bin, 9}, pool_);
    MapResults dirty = run_map_statistics(kernel_, c.problem, spoiled, {cells, bin, 9}, pool_);
    MapResults marked = clean;
    for (int64_t key = 0; key < length; ++key) {
      if (!sees(key)) continue;
      const auto cell = static_cast<size_t>((cells + row / bin) * cells + key / bin);
      marked.mass[static_cast<size_t>(length + key)] = marked.mean[cell] = marked.max[cell] = nan;
      marked.histogram[9 + static_cast<size_t>(distance_bucket(row - key))] = nan;
    }
    for (const NamedMapArray& named : map_arrays()) {
      for (float& value : dirty.*named.array) {
        if (std::isnan(value)) value = nan;
      }
      EXPECT_TRUE(same_bits(dirty.*named.array, marked.*named.array)) << named.name << ", bin " << bin;
    }
  }
}

TEST_P(MapStatisticsOf, HalfIsRoundedToNearestEven) {
  // One row whose log-sum-exp is 0 and one key a cell: a weight is exp of its log weight, as a tile says, from 1 down
  // to below the smallest f16.
  const int64_t n = 4096;
  CaseSpec spec;
  spec.kv_len = n;
  spec.offset = n - 1;
  AttentionCase c(spec);
  std::fill(c.q.begin(), c.q.end(), 0.0F);
  for (int64_t j = 0; j < n; ++j) c.log_weight.push_back(-18.0F * static_cast<float>(j) / static_cast<float>(n));
  c.problem.key_log_weight = c.log_weight.data();
  c.problem.causal_offset = 0;
  c.problem.causal = false;
  const Results zero = Results::sized(c.problem, 1);
  const std::vector<float> weights =
      run_tile(kernel_, c.problem, zero, {0, 0, 0, 1, 0, n, 1, Pooling::max}, SerialFor());
  const MapResults r = run_map_statistics(kernel_, c.problem, zero, {n, 1}, SerialFor());
  for (size_t j = 0; j < weights.size(); ++j) {
    ASSERT_TRUE(difference(r.max[j], weights[j]) <= half_rounding(weights[j]) * (1 + 1e-6)) << weights[j];
    ASSERT_EQ(r.mean[j], r.max[j]);
  }
}

/// Weights next to the middle between two f16 numbers and on it. The only row's column masses are the weights in f32.
TEST_P(MapStatisticsOf, TiesOfHalfGoToEven) {
  if (GetParam().name == "reference") return;  // rounds once, from double
  const int64_t n = 7 * 512;
  CaseSpec spec;
  spec.kv_len = n;
  spec.causal = false;
  AttentionCase c(spec);
  std::fill(c.q.begin(), c.q.end(), 0.0F);
  for (int64_t j = 0; j < n; ++j) {
    auto x = static_cast<float>(std::log(0.5 + (2 * static_cast<double>(j / 7) + 1) / 4096));
    for (int64_t step = j % 7; step != 3; step += step < 3 ? 1 : -1) x = std::nextafter(x, step < 3 ? -1.0F : 0.0F);
    c.log_weight.push_back(x);
  }
  c.problem.key_log_weight = c.log_weight.data();
  const MapResults r = run_map_statistics(kernel_, c.problem, Results::sized(c.problem, 1), {n, 1}, SerialFor());
  int64_t ties = 0;
  for (size_t j = 0; j < r.mass.size(); ++j) {
    const double units = std::ldexp(double{r.mass[j]}, 11);  // f16 from 1/2 to 1 are multiples of 2^-11
    ties += units - std::floor(units) == 0.5;
    ASSERT_EQ(r.max[j], std::ldexp(std::nearbyint(units), -11)) << r.mass[j];
  }
  EXPECT_GT(ties, 100);
}

TEST_P(MapStatisticsOf, EachOutputMayBeLeftOut) {
  const AttentionCase c(map_spec());
  const Results forward = run_forward(kernel_, c, pool_);
  const MapSpec spec{27, 20, 11};
  const MapResults all = run_map_statistics(kernel_, c.problem, forward, spec, pool_);
  const auto call = [&](const MapStatistics& wanted) {
    Guarded<std::byte> workspace(kernel_.map_statistics_workspace(c.problem, wanted, pool_.workers()));
    ASSERT_TRUE(kernel_.map_statistics(c.problem, forward.row_max.data(), forward.log_sum.data(), wanted,
                                       workspace.span(), pool_, {}));
    EXPECT_TRUE(workspace.intact());
  };
  call({});
  std::vector<float> mass(all.mass.size()), histogram(all.histogram.size());
  std::vector<uint16_t> grid(all.mean.size());
  call({.column_mass = mass.data()});
  EXPECT_TRUE(all_near(mass, all.mass, 1e-5));
  call({.distance_histogram = histogram.data(), .distance_buckets = 11});
  EXPECT_TRUE(all_near(histogram, all.histogram, 1e-4));
  const auto expect_grid = [&](const std::vector<float>& expected) {
    for (size_t i = 0; i < grid.size(); ++i) ASSERT_EQ(from_half(grid[i]), expected[i]) << i;
  };
  call({.grid_mean = grid.data(), .cells = 27, .bin = 20});
  expect_grid(all.mean);
  call({.grid_max = grid.data(), .cells = 27, .bin = 20});
  expect_grid(all.max);
}

TEST_P(MapStatisticsOf, NoRowsAndNoKeys) {
  AttentionCase c(map_spec());
  const Results forward = run_forward(kernel_, c, pool_);
  c.problem.q_len = 0;
  for (const bool keys : {true, false}) {
    if (!keys) c.problem.kv_len = 0;
    const MapResults r = run_map_statistics(kernel_, c.problem, forward, {6, 9, 5}, pool_);
    for (const NamedMapArray& named : map_arrays()) {
      for (const float value : r.*named.array) ASSERT_EQ(value, 0) << named.name;
    }
  }
}

TEST_P(MapStatisticsOf, AStopIsSeen) {
  const AttentionCase c(map_spec());
  const Results forward = run_forward(kernel_, c, pool_);
  Guarded<float> mass(4 * 530), histogram(4);
  MapStatistics wanted{.column_mass = mass.data()};
  if (kernel_.device == "cuda") {  // whose second launch may be the one that adds up the histograms
    wanted.distance_histogram = histogram.data();
    wanted.distance_buckets = 1;
  }
  Guarded<std::byte> workspace(kernel_.map_statistics_workspace(c.problem, wanted, 1));
  std::stop_source source;
  EXPECT_FALSE(kernel_.map_statistics(c.problem, forward.row_max.data(), forward.log_sum.data(), wanted,
                                      workspace.span(), StopAtSecondTask(source), source.get_token()));
  if (kernel_.device == "cuda") {
    EXPECT_TRUE(histogram.untouched(0, 4));
  } else {
    EXPECT_TRUE(mass.untouched(530, mass.size())) << "the other heads were still computed";
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, MapStatisticsOf, ::testing::ValuesIn(f32_kernels()),
                         kernel_test_name<AttentionKernel>);

}  // namespace
}  // namespace headscope::testing
