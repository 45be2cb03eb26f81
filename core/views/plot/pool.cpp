#include "core/views/plot/pool.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace headscope {
namespace {

/// The larger one, NaN if one is NaN.
float larger(float a, float b) { return a != a || a >= b ? a : b; }

Grid max_pooled(const Grid& grid, int64_t factor) {
  const int64_t rows = (grid.rows + factor - 1) / factor, cols = (grid.cols + factor - 1) / factor;
  std::vector<float> out(static_cast<size_t>(rows * cols), -INFINITY);
  for (int64_t i = 0; i < grid.rows; ++i) {
    const float* from = grid.row_data(i);
    float* to = out.data() + i / factor * cols;
    for (int64_t begin = 0; begin < grid.cols; begin += factor, ++to) {
      float most = *to;
      for (int64_t j = begin; j < std::min(grid.cols, begin + factor); ++j) most = larger(most, from[j]);
      *to = most;
    }
  }
  return Grid::of(rows, cols, std::move(out));
}

Grid mean_pooled(const Grid& grid, int64_t factor, int64_t row_tokens, int64_t col_tokens, int64_t bin) {
  const int64_t rows = (grid.rows + factor - 1) / factor, cols = (grid.cols + factor - 1) / factor;
  std::vector<float> out(static_cast<size_t>(rows * cols));
  const auto tokens = [&](int64_t cell, int64_t all) {
    return static_cast<double>(std::clamp<int64_t>(all - cell * bin, 1, bin));
  };
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) {
      double sum = 0, weight = 0;
      for (int64_t i = r * factor; i < std::min(grid.rows, (r + 1) * factor); ++i) {
        for (int64_t j = c * factor; j < std::min(grid.cols, (c + 1) * factor); ++j) {
          const double places = tokens(i, row_tokens) * tokens(j, col_tokens);
          sum += places * static_cast<double>(grid.at(i, j));
          weight += places;
        }
      }
      out[static_cast<size_t>(r * cols + c)] = static_cast<float>(sum / weight);
    }
  }
  return Grid::of(rows, cols, std::move(out));
}

}  // namespace

int64_t pool_factor(int64_t cells, double pixels) {
  return std::max<int64_t>(1,
                           static_cast<int64_t>(std::ceil(static_cast<double>(cells) / std::max(1.0, pixels) - 1e-9)));
}

Grid pooled(const Grid& grid, int64_t factor, Pooling pooling, int64_t row_tokens, int64_t col_tokens, int64_t bin) {
  if (factor <= 1 || grid.empty()) return grid;
  return pooling == Pooling::max ? max_pooled(grid, factor) : mean_pooled(grid, factor, row_tokens, col_tokens, bin);
}

int64_t count_invalid(const Grid& grid) {
  int64_t count = 0;
  for (int64_t r = 0; r < grid.rows; ++r) {
    const float* row = grid.row_data(r);
    for (int64_t c = 0; c < grid.cols; ++c) count += row[c] != row[c];
  }
  return count;
}

const PooledGrids::Entry& PooledGrids::max(const Grid& source, int64_t factor) {
  factor = std::max<int64_t>(1, factor);
  const Key key{source.values.get(), source.offset, source.rows, source.cols, factor};
  const auto [found, is_new] = entries_.try_emplace(key);
  Kept& kept = found->second;
  kept.asked = true;
  if (is_new) kept = {source, {pooled(source, factor, Pooling::max, 0, 0, 1), count_invalid(source)}, true};
  return kept.entry;
}

void PooledGrids::sweep() {
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    entry = std::exchange(entry->second.asked, false) ? std::next(entry) : entries_.erase(entry);
  }
}

}  // namespace headscope
