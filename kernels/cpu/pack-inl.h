// Copies of Q, K and V in the order the register tile reads them, compiled once per vector target.
#if defined(HEADSCOPE_PACK_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_PACK_INL
#undef HEADSCOPE_PACK_INL
#else
#define HEADSCOPE_PACK_INL
#endif

#include <cstring>

#include "hwy/cache_control.h"

#include "kernels/cpu/microkernel-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::cpu::HWY_NAMESPACE {

HWY_INLINE int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }
HWY_INLINE int64_t round_down(int64_t n, int64_t step) { return n / step * step; }

/// Floats from one packed query to the next.
HWY_INLINE int64_t query_stride(const AttentionProblem& p) { return round_up(p.key_dim, lanes); }

/// Rows times the problem's scale -> [rows][query_stride]; rows that fill up the last panel repeat the last one.
HWY_INLINE void pack_queries(const AttentionProblem& p, int64_t batch, const QueryRow* rows, int64_t count,
                             float* packed) {
  const F d;
  const V scale = hn::Set(d, p.scale);
  for (int64_t slot = 0; slot < round_up(count, panel_rows); ++slot) {
    const QueryRow& row = rows[std::min(slot, count - 1)];
    const float* from = p.q.row(batch, row.head, row.row);
    float* to = packed + slot * query_stride(p);
    int64_t i = 0;
    for (; i + lanes <= p.key_dim; i += lanes) hn::Store(hn::Mul(hn::LoadU(d, from + i), scale), d, to + i);
    for (; i < p.key_dim; ++i) to[i] = from[i] * p.scale;
  }
}

/// Four floats of each of D's lanes / 4 rows, `skip` elements apart.
template <class D>
HWY_INLINE hn::Vec<D> gather_quads(D d, const float* from, int64_t skip) {
  if constexpr (hn::MaxLanes(d) == 4) {
    return hn::LoadU(d, from);
  } else {
    const hn::Half<D> half;
    const float* upper = from + static_cast<int64_t>(hn::MaxLanes(d) / 8) * skip;
    return hn::Combine(d, gather_quads(half, upper, skip), gather_quads(half, from, skip));
  }
}

/// Transposes 4 dimensions of `lanes` keys: to[d * tile_width + key] = keys[key * stride + d].
HWY_INLINE void transpose_quad(const float* keys, int64_t stride, float* to) {
  const F d;
  const V a = gather_quads(d, keys, 4 * stride), b = gather_quads(d, keys + stride, 4 * stride);
  const V c = gather_quads(d, keys + 2 * stride, 4 * stride), e = gather_quads(d, keys + 3 * stride, 4 * stride);
  const V ac_low = hn::InterleaveLower(d, a, c), ac_high = hn::InterleaveUpper(d, a, c);
  const V be_low = hn::InterleaveLower(d, b, e), be_high = hn::InterleaveUpper(d, b, e);
  hn::Store(hn::InterleaveLower(d, ac_low, be_low), d, to);
  hn::Store(hn::InterleaveUpper(d, ac_low, be_low), d, to + tile_width);
  hn::Store(hn::InterleaveLower(d, ac_high, be_high), d, to + 2 * tile_width);
  hn::Store(hn::InterleaveUpper(d, ac_high, be_high), d, to + 3 * tile_width);
}

/// Rows that are packed now and rows that are asked for from memory ahead of them: rows of one head lie apart, where
/// processors do not guess what comes next (measured: twice the bandwidth).
inline constexpr int64_t rows_ahead = 16;

/// Asks for one row.
HWY_INLINE void prefetch_row(const float* row, int64_t dim) {
  constexpr int64_t line = 64 / sizeof(float);
  for (int64_t d = 0; d < dim; d += line) hwy::Prefetch(row + d);
}

/// Columns `wanted` of a block of keys -> [panels][key_dim][tile_width]. Whole panels are filled: with real keys
/// where they are `present`, with 0 elsewhere. `keys` is the first that is present.
HWY_INLINE void pack_keys(const float* keys, int64_t stride, int64_t key_dim, KeyRange wanted, KeyRange present,
                          float* packed) {
  for (int64_t c = round_down(wanted.begin, tile_width); c < round_up(wanted.end, tile_width); c += lanes) {
    float* to = packed + round_down(c, tile_width) * key_dim + c % tile_width;
    const bool full = c >= present.begin && c + lanes <= present.end;
    int64_t d = 0;
    if (full) {
      const float* from = keys + (c - present.begin) * stride;
      for (int64_t key = 0; key < lanes; ++key) prefetch_row(from + (key + rows_ahead) * stride, key_dim);
      for (; d + 4 <= key_dim; d += 4) transpose_quad(from + d, stride, to + d * tile_width);
    }
    for (; d < key_dim; ++d) {
      for (int64_t lane = 0; lane < lanes; ++lane) {
        const int64_t key = c + lane;
        const bool there = key >= present.begin && key < present.end;
        to[d * tile_width + lane] = there ? keys[(key - present.begin) * stride + d] : 0.0F;
      }
    }
  }
}

/// Width of a row of values, filled up with 0 to whole vectors.
HWY_INLINE int64_t padded_values(int64_t value_dim) { return round_up(value_dim, lanes); }

/// Vectors of the panel that starts at dimension d.
HWY_INLINE int64_t panel_vectors(int64_t padded, int64_t d) {
  return (padded - d < tile_width ? padded - d : tile_width) / lanes;
}

/// Copies one row of values into its panels, [block_keys][vectors * lanes] each; false if it holds inf or NaN.
HWY_INLINE bool pack_value_row(const float* from, int64_t value_dim, int64_t column, float* packed) {
  const F d;
  const int64_t padded = padded_values(value_dim);
  V check = hn::Zero(d);
  for (int64_t first = 0; first < padded; first += tile_width) {
    const int64_t width = panel_vectors(padded, first) * lanes;
    float* to = packed + first * block_keys + column * width;
    for (int64_t i = 0; i < width; i += lanes) {
      V values = hn::Zero(d);
      if (first + i + lanes <= value_dim) {
        values = hn::LoadU(d, from + first + i);
      } else {
        HWY_ALIGN float tail[lanes] = {};
        std::memcpy(tail, from + first + i, static_cast<size_t>(value_dim - first - i) * sizeof(float));
        values = hn::Load(d, tail);
      }
      check = hn::MulAdd(values, hn::Zero(d), check);
      hn::Store(values, d, to + i);
    }
  }
  return hn::AllTrue(d, hn::Eq(check, hn::Zero(d)));
}

HWY_INLINE void clear_value_row(int64_t value_dim, int64_t column, float* packed) {
  const int64_t padded = padded_values(value_dim);
  for (int64_t first = 0; first < padded; first += tile_width) {
    const int64_t width = panel_vectors(padded, first) * lanes;
    std::memset(packed + first * block_keys + column * width, 0, static_cast<size_t>(width) * sizeof(float));
  }
}

}  // namespace headscope::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
