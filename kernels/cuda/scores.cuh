#pragma once

#include "kernels/cuda/planes.cuh"

namespace headscope::cuda {

// Scores of a tile of queries and keys: what the forward pass, tiles, map statistics and divergences share. All get a
// score from the same operations in the same order, wherever it lies in a tile, so the same (row, key) has the same
// bits everywhere.

HEADSCOPE_HOST_DEVICE float minus_infinity() { return -__builtin_inff(); }
inline constexpr float log2_e = 1.44269504088896340736F;
inline constexpr double ln_2 = 0.69314718055994530942;

/// Keys [begin, end).
struct KeyRange {
  int64_t begin = 0;
  int64_t end = 0;
  HEADSCOPE_HOST_DEVICE bool empty() const { return begin >= end; }
};

/// Causal bound, window and first key leave one range of keys to each row; key_log_weight may hide more within it.
HEADSCOPE_HOST_DEVICE KeyRange visible_keys(const AttentionProblem& p, int64_t row) {
  const int64_t position = row + p.causal_offset;
  KeyRange keys{p.first_key, p.kv_len};
  if (p.causal && position + 1 < keys.end) keys.end = position + 1;
  if (p.window > 0 && position - p.window + 1 > keys.begin) keys.begin = position - p.window + 1;
  return keys.empty() ? KeyRange{} : keys;
}

/// Both bounds of what rows see only rise from row to row. So all that any of rows [first, last] sees lies in one
/// range, and each of them sees the whole of another.
HEADSCOPE_HOST_DEVICE KeyRange keys_of_any(const AttentionProblem& p, int64_t first, int64_t last) {
  KeyRange keys{p.first_key, p.kv_len};
  const int64_t begin = first + p.causal_offset - p.window + 1, end = last + p.causal_offset + 1;
  if (p.window > 0 && begin > keys.begin) keys.begin = begin;
  if (p.causal && end < keys.end) keys.end = end;
  return keys.empty() ? KeyRange{} : keys;
}
HEADSCOPE_HOST_DEVICE KeyRange keys_of_all(const AttentionProblem& p, int64_t first, int64_t last) {
  return keys_of_any(p, last, first);
}

/// One query row.
struct QueryRow {
  int64_t head = 0;
  int64_t row = -1;  ///< of the problem; -1: none
  int64_t position = 0;
  KeyRange keys;                      ///< empty where there is no row
  float slope = 0;                    ///< ALiBi
  const float* log_weight = nullptr;  ///< [kv_len] or null

  HEADSCOPE_HOST_DEVICE bool exists() const { return row >= 0; }
  HEADSCOPE_DEVICE bool sees(int64_t key) const {
    return key >= keys.begin && key < keys.end && (!log_weight || log_weight[key] != minus_infinity());
  }
};

HEADSCOPE_HOST_DEVICE QueryRow query_row(const AttentionProblem& p, int64_t head, int64_t row) {
  return {head,
          row,
          row + p.causal_offset,
          visible_keys(p, row),
          p.alibi_slopes ? p.alibi_slopes[head] : 0.0F,
          p.key_log_weight ? p.key_log_weight + head * p.kv_len : nullptr};
}

/// From <q, k> to the score of `key`, -inf where the row does not see it. ALiBi is taken relative to the query's
/// position: a row's softmax does not change when its scores shift, and slope * j alone would use up the digits of a
/// float.
HEADSCOPE_DEVICE float score_of(const AttentionProblem& p, const QueryRow& row, float dot, int64_t key) {
  if (key < row.keys.begin || key >= row.keys.end) return minus_infinity();
  float s = rounded_product(dot, p.scale);
  if (p.soft_cap > 0) s = rounded_product(p.soft_cap, tanhf(s / p.soft_cap));
  if (row.slope != 0) s = fmaf(row.slope, static_cast<float>(key - row.position), s);
  if (row.log_weight) {
    const float weight = row.log_weight[key];
    s = weight == minus_infinity() ? weight : s + weight;
  }
  return s;
}

/// A score that is the product times the scale, and no more.
HEADSCOPE_HOST_DEVICE bool is_plain(const AttentionProblem& p) {
  return !(p.soft_cap > 0) && !p.alibi_slopes && !p.key_log_weight;
}

HEADSCOPE_DEVICE float plain_score(const AttentionProblem& p, float dot) { return rounded_product(dot, p.scale); }

/// What is taken off the scores of a row whose log-sum-exp is known. Not for empty rows.
struct RowShift {
  float shift = 0;  ///< row_max relative to the query's position, as scores are
  float rest = 0;   ///< log_sum, and what shift was rounded by

  HEADSCOPE_HOST_DEVICE static RowShift of(const QueryRow& row, float row_max, float log_sum) {
    const double relative = double{row_max} - double{row.slope} * static_cast<double>(row.position);
    const auto shift = static_cast<float>(relative);
    return {shift, static_cast<float>(double{log_sum} + (relative - double{shift}))};
  }
  /// exp(score - row_max - log_sum)
  HEADSCOPE_DEVICE float weight(float score) const { return exp2_fast(((score - shift) - rest) * log2_e); }
};

/// Products of planes, small ones first: of query plane i and key plane j.
struct PlanePair {
  int query, key;
};
template <int kPlanes>
HEADSCOPE_HOST_DEVICE constexpr int plane_pairs() {
  return kPlanes * (kPlanes + 1) / 2;
}
HEADSCOPE_HOST_DEVICE constexpr PlanePair plane_pair(int planes, int index) {
  for (int sum = planes - 1; sum >= 0; --sum) {
    if (index <= sum) return {sum - index, index};
    index -= sum + 1;
  }
  return {0, 0};
}

/// The fragments of 16 rows from `first_row` on, numbers [16 step, 16 step + 16), as the left factor.
HEADSCOPE_DEVICE void load_left(uint32_t (&a)[4], const SharedPlanes& from, int plane, int first_row, int step) {
  const int lane = lane_index();
  load_matrices(a, from.row(plane, first_row + lane % 16) + 16 * step + lane / 16 * 8);
}

/// The fragments of 16 rows from `first_row` on as two right factors, whose columns are rows [0, 8) and [8, 16).
HEADSCOPE_DEVICE void load_right(uint32_t (&b)[2][2], const SharedPlanes& from, int plane, int first_row, int step) {
  const int lane = lane_index();
  uint32_t r[4];
  load_matrices(r, from.row(plane, first_row + lane % 8 + lane / 16 * 8) + 16 * step + lane / 8 % 2 * 8);
  b[0][0] = r[0], b[0][1] = r[1], b[1][0] = r[2], b[1][1] = r[3];
}

/// Adds the products of 16 numbers of 16 queries and 16 keys: all products of their planes, small ones first. Those of
/// several planes are summed apart, because the tensor cores cut off what is below the last digit of a sum: once for
/// each product, if they went to the sum of all numbers so far.
template <int kPlanes>
HEADSCOPE_DEVICE void multiply_planes(int query_planes, const uint32_t (&a)[kPlanes][4], int key_planes,
                                      const uint32_t (&b)[kPlanes][2][2], float (&d0)[4], float (&d1)[4]) {
  if (kPlanes == 1 || query_planes * key_planes == 1) {
    multiply_add(d0, a[0], b[0][0]);
    multiply_add(d1, a[0], b[0][1]);
    return;
  }
  float part0[4] = {}, part1[4] = {};
  HEADSCOPE_UNROLL
  for (int i = 0; i < plane_pairs<kPlanes>(); ++i) {
    constexpr int planes = kPlanes;
    const PlanePair pair = plane_pair(planes, i);
    if (pair.query >= query_planes || pair.key >= key_planes) continue;
    multiply_add(part0, a[pair.query], b[pair.key][0]);
    multiply_add(part1, a[pair.query], b[pair.key][1]);
  }
  HEADSCOPE_UNROLL
  for (int i = 0; i < 4; ++i) {
    d0[i] += part0[i];
    d1[i] += part1[i];
  }
}

/// <q, k> of 16 queries from `first_query` on and 8 * kBlocks keys from `first_key` on, places in the tiles; kBlocks is
/// even. A lane gets, of block n, {row g: keys 8n + 2t, 8n + 2t + 1; row g + 8: the same keys} with g = lane / 4,
/// t = lane % 4.
template <int kPlanes, int kBlocks>
HEADSCOPE_DEVICE void multiply_scores(const SharedPlanes& queries, int first_query, const SharedPlanes& keys,
                                      int first_key, float (&dots)[kBlocks][4]) {
  HEADSCOPE_UNROLL
  for (int n = 0; n < kBlocks; ++n) {
    HEADSCOPE_UNROLL
    for (int i = 0; i < 4; ++i) dots[n][i] = 0;
  }
  for (int step = 0; step < keys.dim / 16; ++step) {
    uint32_t a[kPlanes][4];
    HEADSCOPE_UNROLL
    for (int plane = 0; plane < kPlanes; ++plane) {
      if (plane < queries.count) load_left(a[plane], queries, plane, first_query, step);
    }
    HEADSCOPE_UNROLL
    for (int n = 0; n < kBlocks; n += 2) {
      uint32_t b[kPlanes][2][2];
      HEADSCOPE_UNROLL
      for (int plane = 0; plane < kPlanes; ++plane) {
        if (plane < keys.count) load_right(b[plane], keys, plane, first_key + 8 * n, step);
      }
      multiply_planes(queries.count, a, keys.count, b, dots[n], dots[n + 1]);
    }
  }
}

}  // namespace headscope::cuda
