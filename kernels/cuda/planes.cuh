#pragma once

#include "kernels/attention.h"
#include "kernels/cuda/device.h"

namespace headscope::cuda {

// Rows of queries, keys and values in shared memory, as the tensor cores take them: bf16.
//
// An f32 number is the sum of three bf16 numbers, exactly but for numbers of extreme size: each plane takes what the
// ones before it have left. The product of two such numbers is the sum of the products of planes i and j; those with
// i + j > 2 are below the rounding of f32 and left out, which makes six. bf16 numbers are one plane.

/// Planes of a tile in shared memory: row after row, each padded by eight numbers, so that the eight rows of a matrix
/// that is loaded lie in different banks. Does not own its memory.
struct SharedPlanes {
  uint16_t* data = nullptr;
  int rows = 0;
  int dim = 0;  ///< a multiple of 16; numbers behind the row's own are 0
  int count = 1;

  HEADSCOPE_HOST_DEVICE constexpr int pitch() const { return dim + 8; }
  HEADSCOPE_HOST_DEVICE size_t bytes() const {
    return static_cast<size_t>(count) * static_cast<size_t>(rows) * static_cast<size_t>(pitch()) * sizeof(uint16_t);
  }
  HEADSCOPE_DEVICE uint16_t* row(int plane, int index) const { return data + (plane * rows + index) * pitch(); }
};

HEADSCOPE_HOST_DEVICE int padded_dim(int64_t dim) { return static_cast<int>((dim + 15) / 16 * 16); }

/// Planes that numbers of such rows need.
HEADSCOPE_HOST_DEVICE int planes_of(Element element) { return element == Element::f32 ? 3 : 1; }
/// Keys that are rotated become f32 again.
HEADSCOPE_HOST_DEVICE int key_planes_of(const AttentionProblem& p) {
  return p.key_rotation.cosines ? 3 : planes_of(p.k.element);
}

/// Whether queries and keys are taken as they are.
HEADSCOPE_HOST_DEVICE bool is_plain_bf16(const AttentionProblem& p) {
  return planes_of(p.q.element) == 1 && key_planes_of(p) == 1;
}
/// And values, too.
HEADSCOPE_HOST_DEVICE bool all_one_plane(const AttentionProblem& p) {
  return is_plain_bf16(p) && planes_of(p.v.element) == 1;
}

HEADSCOPE_HOST_DEVICE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
HEADSCOPE_HOST_DEVICE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
HEADSCOPE_HOST_DEVICE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

/// Whether rows lie in whole pieces of 16 bytes, each aligned so.
HEADSCOPE_HOST_DEVICE bool in_whole_pieces(const InputRows& rows, int64_t dims) {
  const int64_t size = rows.element == Element::f32 ? 4 : 2;
  const auto whole = [size](int64_t numbers) { return numbers * size % 16 == 0; };
  return reinterpret_cast<uintptr_t>(rows.data) % 16 == 0 && whole(rows.batch_stride) && whole(rows.head_stride) &&
         whole(rows.row_stride) && whole(dims);
}
/// Whether they can be copied into a tile as they are.
HEADSCOPE_HOST_DEVICE bool can_be_copied(const InputRows& rows, int64_t dims) {
  return rows.element == Element::bf16 && in_whole_pieces(rows, dims);
}

HEADSCOPE_DEVICE float first_bf16(uint32_t pair) { return float_of_bits(pair << 16); }
HEADSCOPE_DEVICE float second_bf16(uint32_t pair) { return float_of_bits(pair & 0xFFFF0000U); }

/// Two numbers as pairs of bf16, one for each plane.
template <int kPlanes>
HEADSCOPE_DEVICE void split(float x, float y, uint32_t (&pairs)[kPlanes]) {
  HEADSCOPE_UNROLL
  for (int plane = 0; plane < kPlanes; ++plane) {
    pairs[plane] = pack_bf16(x, y);
    x -= first_bf16(pairs[plane]);
    y -= second_bf16(pairs[plane]);
  }
}

/// One row of q, k or v in global memory; `data` null: a row of zeros.
struct GlobalRow {
  const void* data = nullptr;
  Element element = Element::f32;

  HEADSCOPE_DEVICE float at(int64_t dim) const {
    if (element == Element::f32) return static_cast<const float*>(data)[dim];
    return float_of_bits(static_cast<uint32_t>(static_cast<const uint16_t*>(data)[dim]) << 16);
  }
};

HEADSCOPE_DEVICE GlobalRow global_row(const InputRows& rows, int64_t batch, int64_t head, int64_t row) {
  const int64_t at = batch * rows.batch_stride + head * rows.head_stride + row * rows.row_stride;
  return {static_cast<const unsigned char*>(rows.data) + at * (rows.element == Element::f32 ? 4 : 2), rows.element};
}

/// Number `dim` of a key at `position`, rotated (KeyRotation).
HEADSCOPE_DEVICE float rotated(const KeyRotation& rotation, const GlobalRow& key, int64_t position, int64_t dim) {
  const int64_t turned = dim - rotation.first_dim;
  if (!rotation.cosines || turned < 0 || turned >= 2 * rotation.pairs) return key.at(dim);
  const bool half = rotation.style == RotationStyle::rotate_half;
  const int64_t partner = half ? rotation.pairs : 1;
  const int64_t pair = half ? turned % rotation.pairs : turned / 2;
  const bool second = half ? turned >= rotation.pairs : turned % 2 != 0;
  const float c = rotation.cosines[pair * rotation.stride + position];
  const float s = rotation.sines[pair * rotation.stride + position];
  const float own = rounded_product(key.at(dim), c);
  return second ? own + rounded_product(key.at(dim - partner), s) : own - rounded_product(key.at(dim + partner), s);
}

/// Fills a tile, all threads of the block together: `row_of(index)` is the row for place `index` of the tile, and
/// `number(index, row, dim)` its numbers for dim < `dims`. A barrier must come before anyone reads.
template <int kPlanes, class RowOf, class Number>
HEADSCOPE_DEVICE void fill_planes(const SharedPlanes& to, int64_t dims, const RowOf& row_of, const Number& number) {
  const int pairs = to.dim / 2;
  for (int item = thread_index(); item < to.rows * pairs; item += block_threads()) {
    const int index = item / pairs, dim = item % pairs * 2;
    const GlobalRow row = row_of(index);
    float x = 0, y = 0;
    if (row.data && dim < dims) x = number(index, row, dim);
    if (row.data && dim + 1 < dims) y = number(index, row, dim + 1);
    uint32_t parts[kPlanes];
    split(x, y, parts);
    for (int plane = 0; plane < kPlanes && plane < to.count; ++plane) {
      *reinterpret_cast<uint32_t*>(to.row(plane, index) + dim) = parts[plane];
    }
  }
}

}  // namespace headscope::cuda
