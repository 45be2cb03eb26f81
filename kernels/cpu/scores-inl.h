// One block of scores, the part that the forward pass and the tiles share, compiled once per vector target.
// Both get a score from the same operations in the same order, so the same (row, key) has the same bits in both.
#if defined(HEADSCOPE_SCORES_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_SCORES_INL
#undef HEADSCOPE_SCORES_INL
#else
#define HEADSCOPE_SCORES_INL
#endif

#include "kernels/cpu/pack-inl.h"
#include "kernels/cpu/pairs_avx512bf16.h"
#include "kernels/cpu/rotate-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::cpu::HWY_NAMESPACE {

/// Scores of some rows against one block of keys and what they are made from, in a worker's workspace.
struct ScoreBlock {
  QueryRow* rows;   ///< [chunk_rows]
  int64_t count;    ///< rows in use
  float* queries;   ///< packed, [chunk_rows][query_stride]
  float* keys;      ///< packed, [block_keys / tile_width][packed_dim][tile_width]
  float* scores;    ///< [chunk_rows][block_keys]
  KeyRange* spans;  ///< [chunk_rows / panel_rows], columns that any row of a panel sees
  KeyRange all;     ///< columns that any row sees
  int64_t first;    ///< the block's first key

  /// Memory of its own for the rows.
  static ScoreBlock carve_rows(Carver& carver, const CpuProblem& p) {
    ScoreBlock block{};
    block.rows = carver.take<QueryRow>(chunk_rows);
    block.queries = carver.take<float>(chunk_rows * query_stride(p));
    block.spans = carver.take<KeyRange>(chunk_rows / panel_rows);
    return block;
  }
  /// Memory for one block of keys, which several groups of rows may share.
  void carve_keys(Carver& carver, const CpuProblem& p) {
    keys = carver.take<float>(block_keys * packed_dim(p));
    scores = carver.take<float>(chunk_rows * block_keys);
  }
  static ScoreBlock carve(Carver& carver, const CpuProblem& p) {
    ScoreBlock block = carve_rows(carver, p);
    block.carve_keys(carver, p);
    return block;
  }
  float* row_scores(int64_t slot) const { return scores + slot * block_keys; }

  /// Columns that row `slot` sees.
  KeyRange columns(int64_t slot) const { return rows[slot].keys.within_block(first); }

  KeyRange span(int64_t slot) const { return spans[slot / panel_rows]; }

  /// Moves on to the block of keys that starts at `key`.
  void start(int64_t key) {
    first = key;
    all = {};
    for (int64_t slot = 0; slot < count; slot += panel_rows) {
      KeyRange panel;
      for (int64_t i = slot; i < count && i < slot + panel_rows; ++i) panel.unite(columns(i));
      spans[slot / panel_rows] = panel;
      all.unite(panel);
    }
  }
};

/// Rows of the panel that starts at `slot`.
HWY_INLINE int64_t rows_in_panel(const ScoreBlock& block, int64_t slot) {
  return block.count - slot < panel_rows ? block.count - slot : panel_rows;
}

/// Columns `wanted` of the block of keys that starts at `first`, rotated if need be ->
/// [panels][packed_dim][tile_width].
HWY_INLINE void pack_block(const CpuProblem& p, int64_t batch, int64_t kv_head, int64_t first, KeyRange wanted,
                           float* packed) {
  pack_keys(p, batch, kv_head, first, wanted, packed);
  if (p.key_rotation.cosines) rotate_packed_keys(p, first, wanted, packed);
}

/// Scaled <q_i, k_j> of all rows and of the columns that their panel sees, rounded out to whole tiles, from packed
/// keys.
HWY_INLINE void multiply_packed(const CpuProblem& p, const ScoreBlock& block) {
  const int64_t dim = packed_dim(p), stride = query_stride(p);
  for (int64_t c = round_down(block.all.begin, tile_width); c < block.all.end; c += tile_width) {
    for (int64_t slot = 0; slot < block.count; slot += panel_rows) {
      const KeyRange seen = block.span(slot);
      if (seen.empty() || c + tile_width <= seen.begin || c >= seen.end) continue;
      const int64_t rows = rows_in_panel(block, slot);
      const float *queries = block.queries + slot * stride, *keys = block.keys + c * dim;
      float* scores = block.row_scores(slot) + c;
      if (p.pairs) {  // queries of pairs are not scaled: that would round them
        avx512bf16::multiply_rows(tile_vectors, rows, queries, stride, keys, dim, nullptr, p.scale, scores, block_keys);
      } else {
        multiply_panel<tile_vectors>(rows, queries, stride, keys, dim, nullptr, scores, block_keys);
      }
    }
  }
}

/// The same, packing the keys of the KV head first.
HWY_INLINE void multiply_scores(const CpuProblem& p, int64_t batch, int64_t kv_head, const ScoreBlock& block) {
  if (block.all.empty()) return;
  pack_block(p, batch, kv_head, block.first, block.all, block.keys);
  multiply_packed(p, block);
}

/// From a scaled dot product to a score. ALiBi is taken relative to the query's position: a row's softmax does not
/// change when its scores shift, and slope * j alone would use up the digits of a float.
struct ScoreTerms {
  float soft_cap, slope;
  float offset;             ///< first key of the block - position of the query
  const float* log_weight;  ///< of the block's first key, or null
  int64_t available;        ///< keys of the block that exist

  ScoreTerms(const CpuProblem& p, const ScoreBlock& block, const QueryRow& row)
      : soft_cap(p.soft_cap),
        slope(row.slope),
        offset(static_cast<float>(block.first - row.position)),
        log_weight(row.log_weight ? row.log_weight + block.first : nullptr),
        available(p.kv_len - block.first) {}

  bool plain() const { return !(soft_cap > 0) && slope == 0 && !log_weight; }
};

HWY_INLINE V load_log_weight(const ScoreTerms& terms, int64_t column) {
  const F d;
  if (column + lanes <= terms.available) return hn::LoadU(d, terms.log_weight + column);
  HWY_ALIGN float tail[lanes];
  for (int64_t i = 0; i < lanes; ++i) {
    tail[i] = column + i < terms.available ? terms.log_weight[column + i] : minus_infinity;
  }
  return hn::Load(d, tail);
}

HWY_INLINE V score_of(V s, const ScoreTerms& terms, int64_t column) {
  const F d;
  if (terms.soft_cap > 0) {
    const V cap = hn::Set(d, terms.soft_cap);
    s = hn::Mul(cap, tanh_any(hn::Div(s, cap)));
  }
  if (terms.slope != 0) {
    const V distance = hn::Add(hn::Set(d, terms.offset), hn::Iota(d, static_cast<float>(column)));
    s = hn::MulAdd(hn::Set(d, terms.slope), distance, s);
  }
  if (terms.log_weight) {
    const V weight = load_log_weight(terms, column);
    const V hidden = hn::Set(d, minus_infinity);
    s = hn::IfThenElse(hn::Eq(weight, hidden), hidden, hn::Add(s, weight));
  }
  return s;
}

/// Replaces what a row does not see by -inf, whatever was there.
HWY_INLINE V hide_outside(V s, int64_t column, KeyRange seen) {
  const F d;
  const V index = hn::Iota(d, static_cast<float>(column));
  const M inside = hn::And(hn::Ge(index, hn::Set(d, static_cast<float>(seen.begin))),
                           hn::Lt(index, hn::Set(d, static_cast<float>(seen.end))));
  return hn::IfThenElse(inside, s, hn::Set(d, minus_infinity));
}

/// Turns scaled dot products into scores in place, over the vectors that cover `span` (at least what the row sees), and
/// returns the largest; -inf if the row sees none. NaN counts as none.
template <bool kPlain>
HWY_INLINE float finish_scores(const ScoreTerms& terms, KeyRange seen, KeyRange span, float* scores) {
  const F d;
  V best = hn::Set(d, minus_infinity);
  const int64_t begin = round_down(span.begin, lanes);
  for (int64_t c = begin; c < span.end; c += lanes) {
    V s = hn::Load(d, scores + c);
    if constexpr (!kPlain) s = score_of(s, terms, c);
    const bool edge = c < seen.begin || c + lanes > seen.end;
    if (edge) s = hide_outside(s, c, seen);
    if (!kPlain || edge) hn::Store(s, d, scores + c);
    best = hn::Max(s, best);  // x86 takes the second of the two when either is NaN
  }
  return hn::GetLane(hn::MaxOfLanes(d, best));
}

HWY_INLINE float finish_scores(const ScoreTerms& terms, KeyRange seen, KeyRange span, float* scores) {
  return terms.plain() ? finish_scores<true>(terms, seen, span, scores)
                       : finish_scores<false>(terms, seen, span, scores);
}

/// The first column of the vectors that cover `span` whose score is `peak`; any column if there is none. Without
/// branches, which a processor could not predict.
HWY_INLINE int64_t column_of(float peak, KeyRange span, const float* scores) {
  const F d;
  const int64_t begin = round_down(span.begin, lanes), end = round_up(span.end, lanes);
  const V wanted = hn::Set(d, peak), step = hn::Set(d, static_cast<float>(lanes));
  V index = hn::Iota(d, static_cast<float>(end - lanes)), where = hn::Set(d, static_cast<float>(end - 1));
  for (int64_t c = end - lanes; c >= begin; c -= lanes) {
    where = hn::IfThenElse(hn::Eq(hn::Load(d, scores + c), wanted), index, where);
    index = hn::Sub(index, step);
  }
  return static_cast<int64_t>(hn::GetLane(hn::MinOfLanes(d, where)));
}

/// The larger of each pair; NaN wins.
HWY_INLINE V larger(V a, V b) { return hn::IfThenElse(hn::Or(hn::IsNaN(b), hn::Lt(a, b)), b, a); }

/// Sum of values[begin, end); the order of addition depends on begin and end alone.
HWY_INLINE float sum_range(const float* values, int64_t begin, int64_t end) {
  const F d;
  V sum = hn::Zero(d);
  int64_t i = begin;
  for (; i + lanes <= end; i += lanes) sum = hn::Add(sum, hn::LoadU(d, values + i));
  float total = hn::GetLane(hn::SumOfLanes(d, sum));
  for (; i < end; ++i) total += values[i];
  return total;
}

/// Largest of values[begin, end), which hold no NaN that counts, or `floor`; a floor of NaN stays.
HWY_INLINE float max_range(const float* values, int64_t begin, int64_t end, float floor) {
  const F d;
  int64_t i = begin;
  float largest = floor;
  if (i + lanes <= end) {
    V best = hn::LoadU(d, values + i);
    for (i += lanes; i + lanes <= end; i += lanes) best = hn::Max(best, hn::LoadU(d, values + i));
    const float found = hn::GetLane(hn::MaxOfLanes(d, best));
    if (found > largest) largest = found;
  }
  for (; i < end; ++i) {
    if (values[i] > largest) largest = values[i];
  }
  return largest;
}

}  // namespace headscope::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
