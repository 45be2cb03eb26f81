#pragma once

#include <bit>
#include <cstdint>

namespace headscope {

/// Statistics of whole maps, made in a pass over Q and K once the log-sum-exp of every row is known. Any pointer may
/// be null. A call writes all of what is asked for, from its own rows alone: sums over several calls are the caller's.
///
/// A row whose log-sum-exp is NaN makes NaN of what holds a key it sees (key, cell, distance) and of nothing else; an
/// empty row adds nothing.
struct MapStatistics {
  /// [batch, q_heads, kv_len]: the sum of the rows' weights on key j.
  float* column_mass = nullptr;

  /// [batch, q_heads, cells, cells], f16 bits rounded to nearest even: cell (r, c) covers query positions
  /// [r * bin, (r + 1) * bin) and keys [c * bin, (c + 1) * bin). The mean counts the places (row of the call, key
  /// before kv_len) of the cell, masked ones as weight 0; a cell without any is 0. What lies beyond cells * bin is left
  /// out.
  uint16_t* grid_mean = nullptr;
  uint16_t* grid_max = nullptr;  ///< the largest weight of the cell
  int64_t cells = 64;
  int64_t bin = 1;  ///< tokens a cell

  /// [batch, q_heads, distance_buckets]: weight by distance |position - j|. Bucket 0 holds distance 0, bucket b >= 1
  /// holds [2^(b - 1), 2^b), and the last one all longer distances too.
  float* distance_histogram = nullptr;
  int64_t distance_buckets = 0;

  bool wants_grid() const { return grid_mean || grid_max; }
};

/// The bucket of a distance >= 0 where there is no last one.
constexpr int64_t distance_bucket(int64_t distance) {
  return static_cast<int64_t>(std::bit_width(static_cast<uint64_t>(distance)));
}

}  // namespace headscope
