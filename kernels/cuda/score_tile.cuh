#pragma once

#include "kernels/cuda/cell_cut.cuh"

namespace headscope::cuda {

// How tiles and map statistics walk over the scores of one head: some rows stay in shared memory (queries of a tile,
// keys of a column of the map), and the others come by in pieces of 64, in the background where they can.

inline constexpr int piece_rows = 64;  ///< of what comes by

/// The queries of one head, or its keys, by their index (of keys: counted from 0, whatever first_key is).
struct HeadRows {
  InputRows rows;
  KeyRotation rotation;  ///< of keys
  int64_t batch = 0, head = 0;
  int64_t first = 0, end = 0;  ///< those that are in memory
  int64_t dims = 0;

  HEADSCOPE_HOST_DEVICE static HeadRows queries(const AttentionProblem& p, int64_t batch, int64_t head) {
    return {p.q, {}, batch, head, 0, p.q_len, p.key_dim};
  }
  HEADSCOPE_HOST_DEVICE static HeadRows keys(const AttentionProblem& p, int64_t batch, int64_t q_head) {
    return {p.k, p.key_rotation, batch, q_head / (p.q_heads / p.kv_heads), p.first_key, p.kv_len, p.key_dim};
  }
  HEADSCOPE_DEVICE bool holds(int64_t index) const { return index >= first && index < end; }
  HEADSCOPE_DEVICE GlobalRow row(int64_t index) const { return global_row(rows, batch, head, index - first); }
};

/// Starts to copy rows to one plane: `index_of(place)` says which comes to a place of the tile, and where it is not in
/// memory zeros do. Numbers from `first_dim` on. All threads together; rows that can_be_copied.
template <class IndexOf>
HEADSCOPE_DEVICE void copy_rows(const SharedPlanes& to, const HeadRows& from, int first_dim, const IndexOf& index_of) {
  const int groups = to.dim / 8;
  for (int item = thread_index(); item < to.rows * groups; item += block_threads()) {
    const int place = item / groups, dim = item % groups * 8;
    const int64_t index = index_of(place);
    const bool valid = from.holds(index) && first_dim + dim < from.dims;
    const auto* source = static_cast<const uint16_t*>(from.row(valid ? index : from.first).data);
    copy_async(to.row(0, place) + dim, source + (valid ? first_dim + dim : 0), valid);
  }
}

/// The same for rows of any kind, split into planes. A barrier must come before anyone reads.
template <int kPlanes, class IndexOf>
HEADSCOPE_DEVICE void split_rows(const SharedPlanes& to, const HeadRows& from, int first_dim, const IndexOf& index_of) {
  fill_planes<kPlanes>(
      to, from.dims - first_dim,
      [&](int place) {
        const int64_t index = index_of(place);
        return from.holds(index) ? from.row(index) : GlobalRow{};
      },
      [&](int place, const GlobalRow& row, int dim) {
        return rotated(from.rotation, row, index_of(place), first_dim + dim);
      });
}

template <int kPlanes, class IndexOf>
HEADSCOPE_DEVICE void load_rows(bool copied, const SharedPlanes& to, const HeadRows& from, int first_dim,
                                const IndexOf& index_of) {
  if (copied) {
    copy_rows(to, from, first_dim, index_of);
  } else {
    split_rows<kPlanes>(to, from, first_dim, index_of);
  }
}

/// How much of the rows is in shared memory at once.
struct ScoreShape {
  int dim = 0;    ///< padded
  int chunk = 0;  ///< numbers of a row that are there at once; all, if they fit
  int kept_rows = 0, kept_planes = 1;
  int passing_planes = 1;
  bool kept_copied = false;     ///< can_be_copied
  bool passing_copied = false;  ///< the same

  HEADSCOPE_HOST_DEVICE int chunks() const { return (dim + chunk - 1) / chunk; }
  /// Steps of 16 numbers in a chunk.
  HEADSCOPE_HOST_DEVICE int steps(int of_chunk) const {
    return static_cast<int>(smaller(chunk, dim - of_chunk * chunk)) / 16;
  }
  HEADSCOPE_HOST_DEVICE bool one_plane() const { return kept_planes == 1 && passing_planes == 1; }
  /// Whether pieces come while others are worked on. Not where the kept rows change from chunk to chunk, too.
  HEADSCOPE_HOST_DEVICE bool in_background() const { return passing_copied && chunk == dim; }
  HEADSCOPE_HOST_DEVICE int stages() const { return in_background() ? 2 : 1; }
  HEADSCOPE_HOST_DEVICE SharedPlanes kept() const { return {nullptr, kept_rows, chunk, kept_planes}; }
  HEADSCOPE_HOST_DEVICE SharedPlanes passing() const { return {nullptr, piece_rows, chunk, passing_planes}; }
  HEADSCOPE_HOST_DEVICE size_t bytes() const {
    return kept().bytes() + static_cast<size_t>(stages()) * passing().bytes();
  }
  HEADSCOPE_DEVICE SharedPlanes kept_in(std::byte* memory) const {
    SharedPlanes planes = kept();
    planes.data = reinterpret_cast<uint16_t*>(memory);
    return planes;
  }
  HEADSCOPE_DEVICE SharedPlanes passing_in(std::byte* memory, int stage) const {
    SharedPlanes planes = passing();
    planes.data = reinterpret_cast<uint16_t*>(memory + kept().bytes() + static_cast<size_t>(stage) * planes.bytes());
    return planes;
  }

  /// `more`: bytes that the kernel needs beside.
  static ScoreShape of(const AttentionProblem& p, int kept_rows, bool keeps_keys, size_t more,
                       const DeviceLimits& limits) {
    constexpr int chunk_of_long_rows = 64, smallest_chunk = 16;
    const int queries = planes_of(p.q.element), keys = key_planes_of(p);
    ScoreShape shape{padded_dim(p.key_dim), 0, kept_rows, keeps_keys ? keys : queries, keeps_keys ? queries : keys};
    const bool copied_queries = can_be_copied(p.q, p.key_dim), copied_keys = keys == 1 && can_be_copied(p.k, p.key_dim);
    shape.kept_copied = keeps_keys ? copied_keys : copied_queries;
    shape.passing_copied = keeps_keys ? copied_queries : copied_keys;
    shape.chunk = shape.dim;
    const auto fits = [&] { return shape.bytes() + more <= limits.block_bytes; };
    if (!fits() && shape.dim > chunk_of_long_rows) shape.chunk = chunk_of_long_rows;
    while (!fits() && shape.chunk > smallest_chunk) shape.chunk = padded_dim(shape.chunk / 2);
    return shape;
  }
};

/// Takes steps [0, count) one after the other: `load(step, stage)` brings its rows to shared memory, or starts to, and
/// `use(step, stage)` works on them between two barriers.
template <class Load, class Use>
HEADSCOPE_DEVICE void for_each_step(int count, bool background, const Load& load, const Use& use) {
  if (background && count > 0) {
    load(0, 0);
    commit_copies();
  }
  for (int step = 0; step < count; ++step) {
    if (background) {
      if (step + 1 < count) load(step + 1, (step + 1) % 2);
      commit_copies();
      wait_for_copies<1>();
    } else {
      load(step, 0);
      commit_copies();
      wait_for_copies<0>();
    }
    block_barrier();
    use(step, background ? step % 2 : 0);
    block_barrier();
  }
}

template <int kPlanes>
HEADSCOPE_DEVICE void load_left_planes(uint32_t (&a)[kPlanes][4], const SharedPlanes& from, int first_row, int step) {
  HEADSCOPE_UNROLL
  for (int plane = 0; plane < kPlanes; ++plane) {
    if (plane < from.count) load_left(a[plane], from, plane, first_row, step);
  }
}
template <int kPlanes>
HEADSCOPE_DEVICE void load_right_planes(uint32_t (&b)[kPlanes][2][2], const SharedPlanes& from, int first_row,
                                        int step) {
  HEADSCOPE_UNROLL
  for (int plane = 0; plane < kPlanes; ++plane) {
    if (plane < from.count) load_right(b[plane], from, plane, first_row, step);
  }
}

/// Sums <q, k> of kRows times 16 queries and 8 * kBlocks keys, in the order of multiply_scores, which gives a dot
/// product the same bits; fragments as there.
template <int kPlanes, int kRows, int kBlocks>
struct ScoreSums {
  float dots[kRows][kBlocks][4];

  HEADSCOPE_DEVICE void clear() {
    HEADSCOPE_UNROLL
    for (int r = 0; r < kRows; ++r) {
      HEADSCOPE_UNROLL
      for (int n = 0; n < kBlocks; ++n) {
        HEADSCOPE_UNROLL
        for (int i = 0; i < 4; ++i) dots[r][n][i] = 0;
      }
    }
  }

  /// Adds the numbers that are in shared memory, 16 * steps of each row. The queries lie `row_step` places apart from
  /// `first_query` on. Fragments of the longer side are loaded when they are needed, which saves registers.
  HEADSCOPE_DEVICE void add(const SharedPlanes& queries, int first_query, int row_step, const SharedPlanes& keys,
                            int first_key, int steps) {
    constexpr bool keeps_queries = kRows < kBlocks / 2;
    for (int step = 0; step < steps; ++step) {
      uint32_t a[keeps_queries ? kRows : 1][kPlanes][4], b[keeps_queries ? 1 : kBlocks / 2][kPlanes][2][2];
      if constexpr (keeps_queries) {
        HEADSCOPE_UNROLL
        for (int r = 0; r < kRows; ++r) load_left_planes(a[r], queries, first_query + r * row_step, step);
        HEADSCOPE_UNROLL
        for (int n = 0; n < kBlocks; n += 2) {
          load_right_planes(b[0], keys, first_key + 8 * n, step);
          HEADSCOPE_UNROLL
          for (int r = 0; r < kRows; ++r) multiply(queries.count, a[r], keys.count, b[0], r, n);
        }
      } else {
        HEADSCOPE_UNROLL
        for (int n = 0; n < kBlocks; n += 2) load_right_planes(b[n / 2], keys, first_key + 8 * n, step);
        HEADSCOPE_UNROLL
        for (int r = 0; r < kRows; ++r) {
          load_left_planes(a[0], queries, first_query + r * row_step, step);
          HEADSCOPE_UNROLL
          for (int n = 0; n < kBlocks; n += 2) multiply(queries.count, a[0], keys.count, b[n / 2], r, n);
        }
      }
    }
  }

 private:
  /// All products of the planes of 16 queries and 16 keys.
  HEADSCOPE_DEVICE void multiply(int query_planes, const uint32_t (&a)[kPlanes][4], int key_planes,
                                 const uint32_t (&b)[kPlanes][2][2], int r, int n) {
    multiply_planes(query_planes, a, key_planes, b, dots[r][n], dots[r][n + 1]);
  }
};

}  // namespace headscope::cuda
