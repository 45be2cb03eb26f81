#include "tests/kernels/map_case.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace headscope::testing {
namespace {

std::vector<float> decoded(Guarded<uint16_t>& grid) {
  std::vector<float> values(grid.size());
  for (size_t i = 0; i < values.size(); ++i) values[i] = from_half(grid[i]);
  return values;
}

/// One head of dense maps, in T.
template <class T>
struct DenseSums {
  std::vector<T> mass, sum, places, max, histogram;

  DenseSums(const AttentionProblem& p, const MapSpec& spec)
      : mass(static_cast<size_t>(p.kv_len)),
        sum(static_cast<size_t>(spec.cells * spec.cells)),
        places(sum.size()),
        max(sum.size()),
        histogram(static_cast<size_t>(spec.buckets)) {}

  void add(const MapSpec& spec, int64_t position, int64_t key, T weight) {
    mass[static_cast<size_t>(key)] += weight;
    size_t bucket = 0;
    for (int64_t apart = std::abs(position - key); apart > 0 && bucket + 1 < histogram.size(); apart /= 2) ++bucket;
    histogram[bucket] += weight;
    if (position < 0 || position >= spec.cells * spec.bin || key >= spec.cells * spec.bin) return;
    const auto cell = static_cast<size_t>(position / spec.bin * spec.cells + key / spec.bin);
    sum[cell] += weight;
    places[cell] += 1;
    max[cell] = std::max(max[cell], weight);
  }
};

template <class T>
void append(std::vector<float>& to, const std::vector<T>& values) {
  for (const T value : values) to.push_back(static_cast<float>(value));
}

}  // namespace

const std::vector<NamedMapArray>& map_arrays() {
  static const std::vector<NamedMapArray> arrays = {
      {"column mass", &MapResults::mass},
      {"grid of means", &MapResults::mean},
      {"grid of maxima", &MapResults::max},
      {"distance histogram", &MapResults::histogram},
  };
  return arrays;
}

MapResults run_map_statistics(const AttentionKernel& kernel, const AttentionProblem& p, const Results& forward,
                              const MapSpec& spec, const ParallelFor& parallel) {
  const int64_t heads = p.batch * p.q_heads;
  Guarded<float> mass(static_cast<size_t>(heads * p.kv_len)), histogram(static_cast<size_t>(heads * spec.buckets));
  Guarded<uint16_t> mean(static_cast<size_t>(heads * spec.cells * spec.cells)), max(mean.size());
  const MapStatistics wanted{mass.data(), mean.data(),      max.data(),  spec.cells,
                             spec.bin,    histogram.data(), spec.buckets};
  Guarded<std::byte> workspace(kernel.map_statistics_workspace(p, wanted, parallel.workers()));
  EXPECT_TRUE(
      kernel.map_statistics(p, forward.row_max.data(), forward.log_sum.data(), wanted, workspace.span(), parallel, {}));
  EXPECT_TRUE(workspace.intact()) << "wrote beside the workspace";
  EXPECT_TRUE(mass.intact() && mean.intact() && max.intact() && histogram.intact()) << "wrote beside an output";
  for (size_t i = 0; i < mean.size(); ++i) {
    EXPECT_FALSE(mean[i] == 0xFFFF || max[i] == 0xFFFF) << "cell " << i << " was not written";
  }
  return {{mass.data(), mass.data() + mass.size()},
          decoded(mean),
          decoded(max),
          {histogram.data(), histogram.data() + histogram.size()}};
}

template <class T>
MapResults pool_dense_maps(const std::vector<float>& maps, const AttentionProblem& p, const MapSpec& spec) {
  MapResults results;
  const float* weights = maps.data();
  for (int64_t head = 0; head < p.batch * p.q_heads; ++head) {
    DenseSums<T> sums(p, spec);
    for (int64_t i = 0; i < p.q_len; ++i) {
      for (int64_t j = 0; j < p.kv_len; ++j) sums.add(spec, i + p.causal_offset, j, T{*weights++});
    }
    for (size_t cell = 0; cell < sums.sum.size(); ++cell) sums.sum[cell] /= std::max(T{1}, sums.places[cell]);
    append(results.mass, sums.mass);
    append(results.mean, sums.sum);
    append(results.max, sums.max);
    append(results.histogram, sums.histogram);
  }
  return results;
}
template MapResults pool_dense_maps<float>(const std::vector<float>&, const AttentionProblem&, const MapSpec&);
template MapResults pool_dense_maps<double>(const std::vector<float>&, const AttentionProblem&, const MapSpec&);

float from_half(uint16_t bits) {
  const int exponent = bits >> 10 & 31, digits = bits & 1023;
  const float sign = bits >> 15 ? -1.0F : 1.0F;
  if (exponent == 31) {
    return digits == 0 ? sign * std::numeric_limits<float>::infinity() : std::numeric_limits<float>::quiet_NaN();
  }
  const int units = exponent == 0 ? digits : digits + 1024;
  return sign * std::ldexp(static_cast<float>(units), std::max(exponent, 1) - 25);
}

double half_rounding(double value) {
  const int exponent = value == 0 ? -14 : std::max(std::ilogb(value), -14);
  return std::ldexp(0.5, exponent - 10);
}

}  // namespace headscope::testing
