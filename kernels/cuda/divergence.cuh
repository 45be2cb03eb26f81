#pragma once

#include <cstddef>

#include "kernels/cuda/scores.cuh"
#include "kernels/divergence.h"

namespace headscope::cuda {

// What the parts of the divergence share: numbers, scores, and weights of rows whose log-sum-exp is known.

/// What a call is about.
struct DivergenceInputs {
  AttentionProblem problem;
  const float* row_max = nullptr;  ///< [batch, q_heads, q_len]
  const float* log_sum = nullptr;
  DivergenceRequest request;

  HEADSCOPE_HOST_DEVICE int64_t at(int64_t head, int64_t row) const {
    return (request.batch * problem.q_heads + head) * problem.q_len + row;
  }
  HEADSCOPE_DEVICE bool empty(int64_t head, int64_t row) const { return row_max[at(head, row)] == minus_infinity(); }
  HEADSCOPE_HOST_DEVICE int64_t kv_head(int64_t head) const { return head / (problem.q_heads / problem.kv_heads); }
};

// --- numbers and scores -----------------------------------------------------------------------------------------
// Tiles of scores come straight from global memory, in the tensor cores' own layout. Warps that share keys or queries
// find them in the L1 cache, the query heads of a KV head among them; shared memory is left to the weights.

inline constexpr int piece = 8;  ///< numbers that a lane reads at a time where it may
inline constexpr int quad = 4;   ///< lanes that share a row

struct alignas(16) FourWords {
  uint32_t word[4];
};

/// One number of a row of `dims`; zero behind its end.
HEADSCOPE_DEVICE_APART float read_one(KeyRotation rotation, GlobalRow row, int64_t position, int64_t dim,
                                      int64_t dims) {
  return dim < dims ? rotated(rotation, row, position, dim) : 0;
}

/// How numbers of rows are read.
struct RowReader {
  int64_t dims = 0;
  bool whole = false;    ///< every piece is whole and aligned to 16 bytes
  KeyRotation rotation;  ///< of keys that are rotated when they are read

  HEADSCOPE_HOST_DEVICE static RowReader of(const InputRows& rows, int64_t dims, const KeyRotation& rotation) {
    return {dims, dims % piece == 0 && !rotation.cosines && in_whole_pieces(rows, dims), rotation};
  }

  /// Numbers [dim, dim + 8) of a row, a key at `position`; zeros behind its end.
  HEADSCOPE_DEVICE void read(float (&numbers)[piece], const GlobalRow& row, int64_t position, int64_t dim) const {
    HEADSCOPE_UNROLL
    for (int i = 0; i < piece; ++i) numbers[i] = 0;
    if (!row.data || dim >= dims) return;
    if (whole && row.element == Element::f32) {
      const auto* from = reinterpret_cast<const FourWords*>(static_cast<const float*>(row.data) + dim);
      const FourWords words[2] = {from[0], from[1]};
      HEADSCOPE_UNROLL
      for (int i = 0; i < piece; ++i) numbers[i] = float_of_bits(words[i / 4].word[i % 4]);
    } else if (whole) {
      const FourWords words = bf16_words(row, dim);
      HEADSCOPE_UNROLL
      for (int i = 0; i < piece; i += 2) {
        numbers[i] = first_bf16(words.word[i / 2]);
        numbers[i + 1] = second_bf16(words.word[i / 2]);
      }
    } else {
      HEADSCOPE_UNROLL
      for (int i = 0; i < piece; ++i) numbers[i] = read_one(rotation, row, position, dim + i, dims);
    }
  }

  /// Two neighbours of a row as pairs of bf16 in planes; `dim` is even.
  template <int kPlanes>
  HEADSCOPE_DEVICE void read_pair(uint32_t (&parts)[kPlanes], const GlobalRow& row, int64_t position,
                                  int64_t dim) const {
    float x = 0, y = 0;
    if (!row.data || dim >= dims) {
      split(x, y, parts);
      return;
    }
    if (whole && row.element == Element::bf16) {
      const uint32_t word = *reinterpret_cast<const uint32_t*>(static_cast<const uint16_t*>(row.data) + dim);
      x = first_bf16(word), y = second_bf16(word);
    } else if (whole) {
      x = row.at(dim), y = row.at(dim + 1);
    } else {
      x = read_one(rotation, row, position, dim, dims);
      y = read_one(rotation, row, position, dim + 1, dims);
    }
    split(x, y, parts);
  }

 private:
  HEADSCOPE_DEVICE static FourWords bf16_words(const GlobalRow& row, int64_t dim) {
    return *reinterpret_cast<const FourWords*>(static_cast<const uint16_t*>(row.data) + dim);
  }
};

/// The readers of a call's queries and keys.
struct DivergenceReaders {
  RowReader queries, keys;

  HEADSCOPE_HOST_DEVICE static DivergenceReaders of(const AttentionProblem& p) {
    return {RowReader::of(p.q, p.key_dim, {}), RowReader::of(p.k, p.key_dim, p.key_rotation)};
  }
};

/// No row behind those of the request.
HEADSCOPE_DEVICE GlobalRow query_numbers(const DivergenceInputs& in, int64_t head, int64_t row) {
  if (row >= in.request.row_end) return {};
  return global_row(in.problem.q, in.request.batch, head, row);
}
/// No row for a key that is in no memory.
HEADSCOPE_DEVICE GlobalRow key_numbers(const DivergenceInputs& in, int64_t kv_head, int64_t key) {
  const AttentionProblem& p = in.problem;
  if (key < p.first_key || key >= p.kv_len) return {};
  return global_row(p.k, in.request.batch, kv_head, key - p.first_key);
}

/// <q, k> of 16 queries and 8 * kBlocks keys from `first_key` on. With g = lane / 4, t = lane % 4, a lane brings query
/// rows g and g + 8 and gets, of block n, {row g: keys 8n + 2t, 8n + 2t + 1; row g + 8: the same keys}. The operations
/// are those of multiply_scores in their order, so that scores have the bits that the forward pass saw: where scores
/// are large, that alone makes weights right.
template <int kPlanes, int kBlocks>
HEADSCOPE_DEVICE void multiply_rows(const DivergenceInputs& in, const DivergenceReaders& readers, int64_t kv_head,
                                    const GlobalRow (&queries)[2], int64_t first_key, float (&dots)[kBlocks][4]) {
  HEADSCOPE_UNROLL
  for (int n = 0; n < kBlocks; ++n) {
    HEADSCOPE_UNROLL
    for (int i = 0; i < 4; ++i) dots[n][i] = 0;
  }
  const int g = lane_index() / quad, t = lane_index() % quad;
  for (int64_t first = 0; first < in.problem.key_dim; first += 16) {
    uint32_t q[4][kPlanes];
    HEADSCOPE_UNROLL
    for (int i = 0; i < 4; ++i) readers.queries.read_pair(q[i], queries[i % 2], 0, first + 2 * t + i / 2 * 8);
    HEADSCOPE_UNROLL
    for (int n = 0; n < kBlocks; ++n) {
      const int64_t key = first_key + 8 * n + g;
      const GlobalRow numbers = key_numbers(in, kv_head, key);
      uint32_t k[2][kPlanes];
      HEADSCOPE_UNROLL
      for (int i = 0; i < 2; ++i) readers.keys.read_pair(k[i], numbers, key, first + 2 * t + i * 8);
      float part[4] = {};
      HEADSCOPE_UNROLL
      for (int i = 0; i < plane_pairs<kPlanes>(); ++i) {
        const PlanePair pair = plane_pair(kPlanes, i);
        const uint32_t a[4] = {q[0][pair.query], q[1][pair.query], q[2][pair.query], q[3][pair.query]};
        const uint32_t b[2] = {k[0][pair.key], k[1][pair.key]};
        multiply_add(kPlanes == 1 ? dots[n] : part, a, b);
      }
      HEADSCOPE_UNROLL
      for (int i = 0; i < 4 && kPlanes > 1; ++i) dots[n][i] += part[i];
    }
  }
}

// --- weights --------------------------------------------------------------------------------------------------

/// A query row whose log-sum-exp is known. It sees no key if it is empty, or behind the request's rows.
struct KnownRow {
  QueryRow query;
  RowShift shift;

  HEADSCOPE_DEVICE static KnownRow of(const DivergenceInputs& in, int64_t head, int64_t row) {
    KnownRow known;
    if (row >= in.request.row_end) return known;
    known.query = query_row(in.problem, head, row);
    if (in.empty(head, row)) {
      known.query.keys = {};
    } else {
      known.shift = RowShift::of(known.query, in.row_max[in.at(head, row)], in.log_sum[in.at(head, row)]);
    }
    return known;
  }
  /// log2 of the weight of `key`, from <q, k>.
  HEADSCOPE_DEVICE float log2_weight(const AttentionProblem& p, float dot, int64_t key) const {
    return ((score_of(p, query, dot, key) - shift.shift) - shift.rest) * log2_e;
  }
};

}  // namespace headscope::cuda
