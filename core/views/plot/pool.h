#pragma once

#include <map>
#include <tuple>

#include "core/views/figure.h"
#include "kernels/attention.h"

namespace headscope {

/// `grid` with `factor` x `factor` cells made one, so that no cell is lost where there are more cells than
/// pixels. NaN wins over numbers. `row_tokens` and `col_tokens` say how many tokens the whole grid covers and
/// `bin` how many a cell, so that means weigh a cut last cell right.
Grid pooled(const Grid& grid, int64_t factor, Pooling, int64_t row_tokens, int64_t col_tokens, int64_t bin);

/// The smallest factor that leaves at most one cell for each device pixel of `pixels`.
int64_t pool_factor(int64_t cells, double pixels);

/// How many cells hold no number.
int64_t count_invalid(const Grid&);

/// Max-pooled grids, kept as long as they are asked for: the source's values are shared and never change, so a view
/// that is built again, for another selection say, need not pool again. Keeps the sources alive. Not thread-safe.
class PooledGrids {
 public:
  struct Entry {
    Grid grid;            ///< pooled by the factor
    int64_t invalid = 0;  ///< cells of the source that hold no number
  };

  const Entry& max(const Grid& source, int64_t factor);
  /// Drops what nobody has asked for since the last sweep. Ends the validity of references to such entries.
  void sweep();
  size_t size() const { return entries_.size(); }

 private:
  struct Kept {
    Grid source;
    Entry entry;
    bool asked = true;
  };
  using Key =
      std::tuple<const std::vector<float>*, int64_t, int64_t, int64_t, int64_t>;  ///< values, offset, size, factor
  std::map<Key, Kept> entries_;
};

}  // namespace headscope
