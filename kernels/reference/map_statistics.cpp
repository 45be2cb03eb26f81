#include "kernels/reference/map_statistics.h"

#include <algorithm>
#include <cmath>

#include "kernels/reference/known_weight.h"

namespace headscope::reference {
namespace {

/// f16 bits of a weight (>= 0) to nearest even; NaN stays NaN. Units of 2^-24, the smallest f16, or where those would
/// take more than 11 bits, of the power of two that leaves 11.
uint16_t half_bits(double x) {
  if (std::isnan(x)) return 0x7E00;
  if (x == 0) return 0;
  const int exponent = std::max(std::ilogb(x), -14);
  const double units = std::nearbyint(std::ldexp(x, 10 - exponent));
  return static_cast<uint16_t>((exponent + 14) * 1024 + static_cast<int>(units));
}

/// The sums of one head, in doubles of a worker's workspace.
struct HeadSums {
  double* mass;       ///< [kv_len]
  double* sum;        ///< [cells, cells]
  double* max;        ///< [cells, cells]
  double* histogram;  ///< [distance_buckets]

  static int64_t grid(const MapStatistics& wanted) { return wanted.wants_grid() ? wanted.cells * wanted.cells : 0; }
  static int64_t count(const AttentionProblem& p, const MapStatistics& wanted) {
    return p.kv_len + 2 * grid(wanted) + wanted.distance_buckets;
  }
  static HeadSums at(double* memory, const AttentionProblem& p, const MapStatistics& wanted) {
    std::fill_n(memory, count(p, wanted), 0.0);
    double* sum = memory + p.kv_len;
    return {memory, sum, sum + grid(wanted), sum + 2 * grid(wanted)};
  }
};

/// Positions [begin, end) of the call's rows, or keys of the problem, that fall into a cell.
int64_t places(int64_t cell, int64_t bin, int64_t begin, int64_t end) {
  return std::max<int64_t>(0, std::min((cell + 1) * bin, end) - std::max(cell * bin, begin));
}

void add(const MapStatistics& wanted, int64_t position, int64_t key, double weight, const HeadSums& sums) {
  sums.mass[key] += weight;
  if (wanted.distance_buckets > 0) {
    const int64_t bucket = distance_bucket(std::abs(position - key));
    sums.histogram[std::min(bucket, wanted.distance_buckets - 1)] += weight;
  }
  const int64_t recorded = wanted.cells * wanted.bin;
  if (!wanted.wants_grid() || position < 0 || position >= recorded || key >= recorded) return;
  const int64_t cell = position / wanted.bin * wanted.cells + key / wanted.bin;
  sums.sum[cell] += weight;
  if (weight > sums.max[cell] || std::isnan(weight)) sums.max[cell] = weight;  // a NaN cell stays NaN
}

void write(const AttentionProblem& p, const MapStatistics& wanted, int64_t head, const HeadSums& sums) {
  for (int64_t j = 0; wanted.column_mass && j < p.kv_len; ++j) {
    wanted.column_mass[head * p.kv_len + j] = static_cast<float>(sums.mass[j]);
  }
  for (int64_t b = 0; wanted.distance_histogram && b < wanted.distance_buckets; ++b) {
    wanted.distance_histogram[head * wanted.distance_buckets + b] = static_cast<float>(sums.histogram[b]);
  }
  for (int64_t cell = 0; cell < HeadSums::grid(wanted); ++cell) {
    const int64_t at = head * wanted.cells * wanted.cells + cell;
    const int64_t rows = places(cell / wanted.cells, wanted.bin, position_of(p, 0), position_of(p, p.q_len));
    const int64_t keys = places(cell % wanted.cells, wanted.bin, 0, p.kv_len);
    const double count = static_cast<double>(std::max<int64_t>(1, rows * keys));
    if (wanted.grid_mean) wanted.grid_mean[at] = half_bits(sums.sum[cell] / count);
    if (wanted.grid_max) wanted.grid_max[at] = half_bits(sums.max[cell]);
  }
}

size_t worker_bytes(const AttentionProblem& p, const MapStatistics& wanted) {
  return aligned(static_cast<size_t>(HeadSums::count(p, wanted)) * sizeof(double));
}

}  // namespace

size_t map_statistics_workspace(const AttentionProblem& p, const MapStatistics& wanted, int workers) {
  return rotated_keys_bytes(p) + worker_bytes(p, wanted) * static_cast<size_t>(workers);
}

bool map_statistics(const AttentionProblem& p, const float* row_max, const float* log_sum, const MapStatistics& wanted,
                    std::span<std::byte> workspace, const ParallelFor& parallel, std::stop_token stop) {
  const InputRows keys = keys_of(p, workspace.data(), parallel);
  std::byte* scratch = workspace.data() + rotated_keys_bytes(p);
  parallel.run(p.batch * p.q_heads, [&](int64_t head, int worker) {
    auto* memory = reinterpret_cast<double*>(scratch + static_cast<size_t>(worker) * worker_bytes(p, wanted));
    const HeadSums sums = HeadSums::at(memory, p, wanted);
    for (int64_t row = 0; row < p.q_len; ++row) {
      if (stop.stop_requested()) return;
      const Query query{head / p.q_heads, head % p.q_heads, row};
      for (int64_t j = 0; j < p.kv_len; ++j) {
        if (!is_visible(p, query, j)) continue;
        add(wanted, position_of(p, row), j, known_weight(p, keys, row_max, log_sum, query, j), sums);
      }
    }
    write(p, wanted, head, sums);
  });
  return !stop.stop_requested();
}

}  // namespace headscope::reference
