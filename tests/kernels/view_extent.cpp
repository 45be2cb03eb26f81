#include "tests/kernels/view_extent.h"

#include <algorithm>
#include <cstdlib>

namespace headscope::testing {
namespace {

/// Above it an extent is not copied whole if less than an eighth of it is rows.
constexpr size_t large_extent = size_t{64} << 20;

bool is_empty(const ViewShape& v) { return v.batch <= 0 || v.heads <= 0 || v.rows <= 0 || v.dim <= 0; }

}  // namespace

ViewShape shape_of(const InputRows& rows, int64_t batch, int64_t heads, int64_t count, int64_t dim) {
  return {batch, heads, count, dim, rows.batch_stride, rows.head_stride, rows.row_stride, bytes_of(rows.element)};
}

ViewShape shape_of(const Rows<float>& rows, int64_t batch, int64_t heads, int64_t count, int64_t dim) {
  return {batch, heads, count, dim, rows.batch_stride, rows.head_stride, rows.row_stride, 4};
}

size_t extent_of(const ViewShape& v) {
  if (is_empty(v)) return 0;
  const int64_t apart = std::abs((v.batch - 1) * v.batch_stride) + std::abs((v.heads - 1) * v.head_stride) +
                        std::abs((v.rows - 1) * v.row_stride);
  return static_cast<size_t>((apart + v.dim) * v.element_bytes);
}

size_t start_of(const ViewShape& v) {
  if (is_empty(v)) return 0;
  const auto below = [](int64_t count, int64_t stride) { return (count - 1) * std::max<int64_t>(0, -stride); };
  const int64_t elements = below(v.batch, v.batch_stride) + below(v.heads, v.head_stride) + below(v.rows, v.row_stride);
  return static_cast<size_t>(elements * v.element_bytes);
}

std::vector<ByteRange> row_ranges(const ViewShape& v) {
  std::vector<ByteRange> rows;
  if (is_empty(v)) return rows;
  const auto start = static_cast<int64_t>(start_of(v));
  for (int64_t b = 0; b < v.batch; ++b) {
    for (int64_t h = 0; h < v.heads; ++h) {
      for (int64_t r = 0; r < v.rows; ++r) {
        const int64_t elements = b * v.batch_stride + h * v.head_stride + r * v.row_stride;
        const auto first = static_cast<size_t>(start + elements * v.element_bytes);
        rows.push_back({first, first + static_cast<size_t>(v.dim * v.element_bytes)});
      }
    }
  }
  std::sort(rows.begin(), rows.end(), [](const ByteRange& a, const ByteRange& b) { return a.begin < b.begin; });
  std::vector<ByteRange> joined{rows.front()};
  for (const ByteRange& row : rows) {
    if (row.begin > joined.back().end) joined.push_back(row);
    joined.back().end = std::max(joined.back().end, row.end);
  }
  return joined;
}

std::vector<ByteRange> ranges_to_copy(const ViewShape& v) {
  const size_t extent = extent_of(v);
  if (extent == 0) return {};
  const auto used = static_cast<size_t>(v.batch * v.heads * v.rows * v.dim * v.element_bytes);
  if (extent > large_extent && used < extent / 8) return row_ranges(v);
  return {{0, extent}};
}

}  // namespace headscope::testing
