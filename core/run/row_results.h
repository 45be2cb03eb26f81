#pragma once

#include "core/data/run_snapshot.h"
#include "kernels/attention.h"

namespace headscope {

/// What kernels leave of rows for viewers: arrays [q_heads, rows] of one size, one after the other: row_max, log_sum,
/// then the statistics. Kernels write the argmax as whole numbers elsewhere; its array is filled from there.
namespace row_results {

inline constexpr int64_t row_max = 0, log_sum = 1, first_statistic = 2, arrays = first_statistic + statistic_count;

constexpr int64_t array_of(Statistic which) { return first_statistic + static_cast<int64_t>(which); }

/// Points an output at them, from place `first` of each array on: `numbers` [arrays, size], `argmax` [size].
inline void point(AttentionOutput& output, float* numbers, int32_t* argmax, int64_t size, int64_t first) {
  const auto of = [&](int64_t array) { return numbers + array * size + first; };
  output.row_max = of(row_max);
  output.log_sum = of(log_sum);
  RowStatistics& wanted = output.statistics;
  wanted.entropy = of(array_of(Statistic::entropy));
  wanted.max = of(array_of(Statistic::max));
  wanted.argmax = argmax + first;
  wanted.distance = of(array_of(Statistic::distance));
  wanted.distance_variance = of(array_of(Statistic::distance_variance));
  wanted.sink = of(array_of(Statistic::sink));
  wanted.window = of(array_of(Statistic::window));
  wanted.sink_tokens = sink_tokens;
  wanted.window_tokens = window_tokens;
}

}  // namespace row_results
}  // namespace headscope
