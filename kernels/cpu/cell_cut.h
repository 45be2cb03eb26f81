#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/cpu/plan.h"

namespace headscope::cpu {

/// Cuts a line of cells of `bin` places each, the first at `origin`, into pieces of at most `limit` places that hold
/// whole cells or a part of one. Where a cell is cut depends on the cell alone, and so do the sums over it.
struct CellCut {
  int64_t origin, bin, limit;

  /// The piece that holds `place`.
  KeyRange piece(int64_t place) const {
    if (bin > limit) {
      const int64_t cell = start_of(place, origin, bin), begin = start_of(place, cell, limit);
      return {begin, std::min(begin + limit, cell + bin)};
    }
    const int64_t step = limit / bin * bin, begin = start_of(place, origin, step);
    return {begin, begin + step};
  }

 private:
  /// The last of origin, origin + step, origin - step, ... that is not behind `place`.
  static int64_t start_of(int64_t place, int64_t origin, int64_t step) {
    const int64_t off = (place - origin) % step;
    return place - (off < 0 ? off + step : off);
  }
};

/// Rows of a cell that are pooled together in f32 before doubles take over; chunk_rows is a multiple.
inline constexpr int64_t group_rows = 32;
static_assert(chunk_rows % group_rows == 0);

}  // namespace headscope::cpu
