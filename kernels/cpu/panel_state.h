#pragma once

#include <cstdint>
#include <limits>

namespace headscope::cpu {

/// Room for the rows of a panel side by side, in whole vectors of every target.
inline constexpr int64_t panel_lanes = 8, panel_floats = 16;

/// What is known of the rows of a panel after some keys. All sums are over keys j seen so far, of weights
/// w_j = exp(s_j - row_max), and shrink by exp(old row_max - row_max) when a maximum grows. A NaN among the scores of a
/// row makes its `sum` NaN for good.
struct PanelState {
  alignas(64) float row_max[panel_floats];
  alignas(64) double sum[panel_lanes] = {};      ///< w
  alignas(64) double cross[panel_lanes] = {};    ///< w (s - row_max)
  alignas(64) double mean[panel_lanes] = {};     ///< of j under w
  alignas(64) double scatter[panel_lanes] = {};  ///< w (j - mean)^2
  alignas(64) double sink[panel_lanes] = {};     ///< w of the first keys
  alignas(64) double window[panel_lanes] = {};   ///< w of the keys just before the query
  int64_t argmax[panel_lanes];

  PanelState() {
    for (float& value : row_max) value = -std::numeric_limits<float>::infinity();
    for (int64_t& key : argmax) key = -1;
  }
};

/// The row in one lane of a panel.
struct RowState {
  float row_max;
  int64_t argmax;
  double sum, cross, mean, scatter, sink, window;

  RowState(const PanelState& panel, int64_t lane)
      : row_max(panel.row_max[lane]),
        argmax(panel.argmax[lane]),
        sum(panel.sum[lane]),
        cross(panel.cross[lane]),
        mean(panel.mean[lane]),
        scatter(panel.scatter[lane]),
        sink(panel.sink[lane]),
        window(panel.window[lane]) {}
};

}  // namespace headscope::cpu
