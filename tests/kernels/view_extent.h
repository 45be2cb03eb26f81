#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/attention.h"

namespace headscope::testing {

/// Bytes of memory, counted from the lowest one that a view touches.
struct ByteRange {
  size_t begin = 0, end = 0;
  size_t size() const { return end - begin; }
  bool operator==(const ByteRange&) const = default;
};

/// The shape and the strides of a view of rows [batch, heads, rows, dim], in elements. Strides may be below 0.
struct ViewShape {
  int64_t batch = 0, heads = 0, rows = 0, dim = 0;
  int64_t batch_stride = 0, head_stride = 0, row_stride = 0;
  int64_t element_bytes = 4;
};

ViewShape shape_of(const InputRows& rows, int64_t batch, int64_t heads, int64_t count, int64_t dim);
ViewShape shape_of(const Rows<float>& rows, int64_t batch, int64_t heads, int64_t count, int64_t dim);

/// From the lowest byte to the highest one that the view names, what lies between its rows included; 0 without
/// elements.
size_t extent_of(const ViewShape&);

/// How far above the lowest byte the view's own pointer lies: more than 0 where a stride is below 0.
size_t start_of(const ViewShape&);

/// Each row of the view, joined where they touch or overlap, ascending.
std::vector<ByteRange> row_ranges(const ViewShape&);

/// What has to be copied of it: the whole extent, or the rows alone where the extent is so large, and so empty, that
/// only they can be (rows more than 2^31 elements apart).
std::vector<ByteRange> ranges_to_copy(const ViewShape&);

}  // namespace headscope::testing
