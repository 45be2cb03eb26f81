#pragma once

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

}  // namespace headscope
