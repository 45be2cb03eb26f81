#pragma once

#include <cmath>

#include "kernels/cpu/panel_state.h"
#include "kernels/cpu/plan.h"

namespace headscope::cpu {

/// Writes what is known of a row once all its keys are in: O from the sums of w v, the log-sum-exp and statistics.
inline void write_row(const CpuProblem& p, const AttentionOutput& output, int64_t batch, const QueryRow& row,
                      const RowState& state, const float* values) {
  const bool empty = state.sum == 0;
  const double inverse = empty ? 0 : 1 / state.sum, log_sum = empty ? 0 : std::log(state.sum);
  const int64_t at = (batch * p.q_heads + row.head) * p.q_len + row.row;
  if (output.out.data) {
    float* out = output.out.row(batch, row.head, row.row);
    for (int64_t d = 0; d < p.value_dim; ++d) out[d] = values[d] * static_cast<float>(inverse);
  }
  // Scores were taken relative to the query's position; the two floats must add up to the absolute one.
  const double row_max = double{state.row_max} + double{row.slope} * static_cast<double>(row.position);
  const auto rounded = static_cast<float>(row_max);
  if (output.row_max) output.row_max[at] = empty ? -std::numeric_limits<float>::infinity() : rounded;
  if (output.log_sum) output.log_sum[at] = empty ? 0.0F : static_cast<float>(log_sum + (row_max - double{rounded}));

  const RowStatistics& wanted = output.statistics;
  const auto write = [at, empty](float* to, double value) {
    if (to) to[at] = empty ? 0.0F : static_cast<float>(value);
  };
  const double entropy = log_sum - state.cross * inverse;
  write(wanted.entropy, entropy < 0 ? 0 : entropy);
  write(wanted.max, inverse);
  write(wanted.distance, static_cast<double>(row.position) - state.mean);
  write(wanted.distance_variance, state.scatter * inverse);
  write(wanted.sink, state.sink * inverse);
  write(wanted.window, state.window * inverse);
  if (wanted.argmax) wanted.argmax[at] = empty ? -1 : static_cast<int32_t>(state.argmax);
}

}  // namespace headscope::cpu
