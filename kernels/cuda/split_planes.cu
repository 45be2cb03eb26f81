#include "kernels/cuda/split_planes.h"

#include "kernels/cuda/scores.cuh"

namespace headscope::cuda {
namespace {

constexpr int split_threads = 256;
constexpr int chunk = 8;  ///< numbers of 16 bytes

struct alignas(16) Chunk {
  uint32_t pairs[chunk / 2];
};

struct SplitParams {
  InputRows from;
  KeyRotation rotation;
  PlaneRows to;
  int64_t from_row;  ///< the row of `from` that becomes row 0
  int64_t heads, rows, dim, items;
};

/// A thread splits eight numbers of a row.
HEADSCOPE_KERNEL void HEADSCOPE_LAUNCH_BOUNDS(split_threads, 4) split_planes(SplitParams s) {
  const int64_t item = int64_t{block_index().x} * split_threads + thread_index();
  if (item >= s.items) return;
  const int64_t chunks = s.to.dim / chunk, first = item % chunks * chunk;
  const int64_t row = item / chunks % s.rows, head = item / chunks / s.rows % s.heads;
  const int64_t batch = item / chunks / s.rows / s.heads;
  const GlobalRow from = global_row(s.from, batch, head, s.from_row + row);
  const auto number = [&](int64_t dim) {
    return dim < s.dim ? rotated(s.rotation, from, s.to.first_key + row, dim) : 0.0F;
  };
  Chunk chunks_of[3];
  HEADSCOPE_UNROLL
  for (int i = 0; i < chunk / 2; ++i) {
    uint32_t planes[3];
    split(number(first + 2 * i), number(first + 2 * i + 1), planes);
    HEADSCOPE_UNROLL
    for (int plane = 0; plane < 3; ++plane) chunks_of[plane].pairs[i] = planes[plane];
  }
  auto* to = const_cast<uint16_t*>(s.to.data) + batch * s.to.batch_stride + head * s.to.head_stride +
             row * s.to.row_stride + first;
  HEADSCOPE_UNROLL
  for (int plane = 0; plane < 3; ++plane) {
    if (plane < s.to.count) *reinterpret_cast<Chunk*>(to + plane * s.to.plane_stride) = chunks_of[plane];
  }
}

}  // namespace

PlaneSource::PlaneSource(const AttentionProblem& p, const InputRows& rows, int64_t dim, const KeyRotation& rotation)
    : rows_(rows),
      rotation_(rotation),
      batch_(p.batch),
      heads_(p.kv_heads),
      dim_(dim),
      first_key_(p.first_key),
      planes_(rotation.cosines ? 3 : planes_of(rows.element)) {
  const KeyRange seen = keys_of_any(p, 0, p.q_len - 1);
  begin_ = seen.begin, end_ = seen.end;
}

PlaneSource PlaneSource::keys(const AttentionProblem& p) { return {p, p.k, p.key_dim, p.key_rotation}; }
PlaneSource PlaneSource::values(const AttentionProblem& p) { return {p, p.v, p.value_dim, {}}; }

bool PlaneSource::in_place() const { return !rotation_.cosines && can_be_copied(rows_, dim_); }

size_t PlaneSource::bytes() const {
  if (in_place()) return 0;
  const int64_t numbers = planes_ * batch_ * heads_ * (end_ - begin_) * padded_dim(dim_);
  return static_cast<size_t>(numbers) * sizeof(uint16_t);
}

PlaneRows PlaneSource::planes(std::byte* memory, void* stream) const {
  if (in_place()) {
    return {static_cast<const uint16_t*>(rows_.data),
            rows_.batch_stride,
            rows_.head_stride,
            rows_.row_stride,
            0,
            first_key_,
            static_cast<int>(dim_)};
  }
  const int dim = padded_dim(dim_);
  const int64_t head_size = (end_ - begin_) * dim, batch_size = heads_ * head_size;
  const PlaneRows to{
      reinterpret_cast<const uint16_t*>(memory), batch_size, head_size, dim, batch_ * batch_size, begin_, dim, planes_};
  const int64_t items = batch_ * batch_size / chunk;
  const auto blocks = static_cast<unsigned>(ceil_div(items, split_threads));
  launch("keys or values into bf16 planes", split_planes, {blocks}, split_threads, 0, stream,
         SplitParams{rows_, rotation_, to, begin_ - first_key_, heads_, end_ - begin_, dim_, items});
  return to;
}

}  // namespace headscope::cuda
