#include "core/views/plot/pool.h"

#include <algorithm>
#include <cmath>

namespace headscope {

int64_t pool_factor(int64_t cells, double pixels) {
  return std::max<int64_t>(1,
                           static_cast<int64_t>(std::ceil(static_cast<double>(cells) / std::max(1.0, pixels) - 1e-9)));
}

Grid pooled(const Grid& grid, int64_t factor, Pooling pooling, int64_t row_tokens, int64_t col_tokens, int64_t bin) {
  if (factor <= 1 || grid.empty()) return grid;
  const int64_t rows = (grid.rows + factor - 1) / factor, cols = (grid.cols + factor - 1) / factor;
  std::vector<float> out(static_cast<size_t>(rows * cols));
  const auto tokens = [&](int64_t cell, int64_t all) {
    return static_cast<double>(std::clamp<int64_t>(all - cell * bin, 1, bin));
  };
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) {
      double sum = 0, weight = 0;
      float most = -INFINITY;
      bool invalid = false;
      for (int64_t i = r * factor; i < std::min(grid.rows, (r + 1) * factor); ++i) {
        for (int64_t j = c * factor; j < std::min(grid.cols, (c + 1) * factor); ++j) {
          const float value = grid.at(i, j);
          const double places = tokens(i, row_tokens) * tokens(j, col_tokens);
          invalid |= std::isnan(value);
          most = std::max(most, value);
          sum += places * static_cast<double>(value);
          weight += places;
        }
      }
      const float mean = static_cast<float>(sum / weight);
      out[static_cast<size_t>(r * cols + c)] = invalid ? NAN : pooling == Pooling::max ? most : mean;
    }
  }
  return Grid::of(rows, cols, std::move(out));
}

int64_t count_invalid(const Grid& grid) {
  int64_t count = 0;
  for (int64_t r = 0; r < grid.rows; ++r) {
    for (int64_t c = 0; c < grid.cols; ++c) count += std::isnan(grid.at(r, c));
  }
  return count;
}

}  // namespace headscope
