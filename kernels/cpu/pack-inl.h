// Copies of Q, K and V in the order the register tile reads them, compiled once per vector target.
#if defined(HEADSCOPE_PACK_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_PACK_INL
#undef HEADSCOPE_PACK_INL
#else
#define HEADSCOPE_PACK_INL
#endif

#include <cstring>

#include "hwy/cache_control.h"

#include "kernels/cpu/bf16-inl.h"
#include "kernels/cpu/microkernel-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::cpu::HWY_NAMESPACE {

HWY_INLINE int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }
HWY_INLINE int64_t round_down(int64_t n, int64_t step) { return n / step * step; }

/// 32-bit words of one row of queries or keys: a word is one f32, or two bf16 of neighbouring dimensions, the first in
/// the lower half; an odd last dimension is paired with 0.
HWY_INLINE int64_t words_of(const InputRows& rows, int64_t dim) {
  return rows.element == Element::f32 ? dim : (dim + 1) / 2;
}

/// Floats of one packed row of queries, and of keys: words of pairs, or dimensions.
HWY_INLINE int64_t packed_dim(const CpuProblem& p) { return p.pairs ? words_of(p.k, p.key_dim) : p.key_dim; }
/// Floats from one packed query to the next.
HWY_INLINE int64_t query_stride(const CpuProblem& p) { return round_up(packed_dim(p), lanes); }

/// The row's numbers times the problem's scale; bf16 are widened.
template <class T>
HWY_INLINE void pack_scaled(const CpuProblem& p, const T* from, float* to) {
  const F d;
  const V scale = hn::Set(d, p.scale);
  int64_t i = 0;
  for (; i + lanes <= p.key_dim; i += lanes) hn::Store(hn::Mul(widened(from + i), scale), d, to + i);
  for (; i < p.key_dim; ++i) to[i] = widened_one(from[i]) * p.scale;
}

/// Rows -> [rows][query_stride], scaled or, in pairs, as they are; rows that fill up the last panel repeat the last
/// one.
HWY_INLINE void pack_queries(const CpuProblem& p, int64_t batch, const QueryRow* rows, int64_t count, float* packed) {
  for (int64_t slot = 0; slot < round_up(count, panel_rows); ++slot) {
    const QueryRow& row = rows[std::min(slot, count - 1)];
    float* to = packed + slot * query_stride(p);
    if (p.q.element == Element::f32) {
      pack_scaled(p, p.q.row(batch, row.head, row.row), to);
    } else if (!p.pairs) {
      pack_scaled(p, p.q.row<uint16_t>(batch, row.head, row.row), to);
    } else {
      to[packed_dim(p) - 1] = 0;
      std::memcpy(to, p.q.row<uint16_t>(batch, row.head, row.row), static_cast<size_t>(p.key_dim) * sizeof(uint16_t));
    }
  }
}

/// Rows whose words are packed, a word of each side by side.
struct WordRows {
  const std::byte* data;  ///< aligned as their elements are
  int64_t stride;         ///< bytes from one row to the next
  int64_t words;
  bool half_word;  ///< the last word is one bf16 alone

  static WordRows of(const float* rows, int64_t stride, int64_t words) {
    return {reinterpret_cast<const std::byte*>(rows), stride * 4, words, false};
  }
  const std::byte* row(int64_t index) const { return data + index * stride; }
  int64_t bytes() const { return 4 * words - (half_word ? 2 : 0); }
  float word(int64_t index, int64_t w) const {
    float value = 0;
    std::memcpy(&value, row(index) + 4 * w, half_word && w == words - 1 ? 2 : 4);
    return value;
  }
};

/// Four words of each of D's lanes / 4 rows, `skip` bytes apart.
template <class D>
HWY_INLINE hn::Vec<D> gather_quads(D d, const std::byte* from, int64_t skip) {
  if constexpr (hn::MaxLanes(d) == 4) {
    return hn::BitCast(d, hn::LoadU(hn::Repartition<uint8_t, D>(), reinterpret_cast<const uint8_t*>(from)));
  } else {
    const hn::Half<D> half;
    const std::byte* upper = from + static_cast<int64_t>(hn::MaxLanes(d) / 8) * skip;
    return hn::Combine(d, gather_quads(half, upper, skip), gather_quads(half, from, skip));
  }
}

/// The numbers of one word of `lanes` rows -> to[row], or to[row] and to[tile_width + row] where bf16 are widened.
template <bool kWiden>
HWY_INLINE void store_words(V words, bool both, float* to) {
  const F d;
  if constexpr (kWiden) {
    hn::Store(lower_halves(words), d, to);
    if (both) hn::Store(upper_halves(words), d, to + tile_width);
  } else {
    hn::Store(words, d, to);
  }
}

/// 4 words of `lanes` rows, each side by side.
struct WordQuad {
  V w0, w1, w2, w3;
};

HWY_INLINE WordQuad load_quad(const std::byte* rows, int64_t stride) {
  const F d;
  const V a = gather_quads(d, rows, 4 * stride), b = gather_quads(d, rows + stride, 4 * stride);
  const V c = gather_quads(d, rows + 2 * stride, 4 * stride), e = gather_quads(d, rows + 3 * stride, 4 * stride);
  const V ac_low = hn::InterleaveLower(d, a, c), ac_high = hn::InterleaveUpper(d, a, c);
  const V be_low = hn::InterleaveLower(d, b, e), be_high = hn::InterleaveUpper(d, b, e);
  return {hn::InterleaveLower(d, ac_low, be_low), hn::InterleaveUpper(d, ac_low, be_low),
          hn::InterleaveLower(d, ac_high, be_high), hn::InterleaveUpper(d, ac_high, be_high)};
}

template <bool kWiden>
HWY_INLINE void transpose_quad(const std::byte* rows, int64_t stride, float* to) {
  constexpr int64_t step = kWiden ? 2 * tile_width : tile_width;
  const WordQuad quad = load_quad(rows, stride);
  store_words<kWiden>(quad.w0, true, to);
  store_words<kWiden>(quad.w1, true, to + step);
  store_words<kWiden>(quad.w2, true, to + 2 * step);
  store_words<kWiden>(quad.w3, true, to + 3 * step);
}

/// Rows that are packed now and rows that are asked for from memory ahead of them: rows of one head lie apart, where
/// processors do not guess what comes next (measured: twice the bandwidth).
inline constexpr int64_t rows_ahead = 16;

/// Asks for one row.
HWY_INLINE void prefetch_row(const std::byte* row, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += 64) hwy::Prefetch(row + i);
}

/// Rows `wanted` of a block -> [panels][words][tile_width]; where bf16 are widened, [panels][dimensions][tile_width].
/// Whole panels are filled: with real rows where they are `present`, with 0 elsewhere. rows.data is the first that is
/// present.
template <bool kWiden = false>
HWY_INLINE void pack_rows(const WordRows& rows, KeyRange wanted, KeyRange present, float* packed) {
  constexpr int64_t step = kWiden ? 2 * tile_width : tile_width;
  const F d;
  const int64_t panel = rows.words * step - (kWiden && rows.half_word ? tile_width : 0);
  const int64_t whole_words = rows.words - (rows.half_word ? 1 : 0);
  for (int64_t c = round_down(wanted.begin, tile_width); c < round_up(wanted.end, tile_width); c += lanes) {
    float* to = packed + c / tile_width * panel + c % tile_width;
    const bool full = c >= present.begin && c + lanes <= present.end;
    int64_t w = 0;
    if (full) {
      const int64_t first = c - present.begin;
      for (int64_t i = 0; i < lanes; ++i) prefetch_row(rows.row(first + i + rows_ahead), rows.bytes());
      for (; w + 4 <= whole_words; w += 4) transpose_quad<kWiden>(rows.row(first) + 4 * w, rows.stride, to + w * step);
    }
    for (; w < rows.words; ++w) {
      HWY_ALIGN float words[lanes] = {};
      for (int64_t i = 0; i < lanes; ++i) {
        const int64_t row = c + i;
        if (row >= present.begin && row < present.end) words[i] = rows.word(row - present.begin, w);
      }
      store_words<kWiden>(hn::Load(d, words), w < whole_words, to + w * step);
    }
  }
}

/// The keys of a head from `key` on.
HWY_INLINE WordRows key_rows(const CpuProblem& p, int64_t batch, int64_t kv_head, int64_t key) {
  const int64_t element = bytes_of(p.k.element);
  const int64_t offset = batch * p.k.batch_stride + kv_head * p.k.head_stride + (key - p.first_key) * p.k.row_stride;
  return {static_cast<const std::byte*>(p.k.data) + offset * element, p.k.row_stride * element,
          words_of(p.k, p.key_dim), p.k.element == Element::bf16 && p.key_dim % 2 != 0};
}

/// Columns `wanted` of the block of keys that starts at `first` -> [panels][packed_dim][tile_width].
HWY_INLINE void pack_keys(const CpuProblem& p, int64_t batch, int64_t kv_head, int64_t first, KeyRange wanted,
                          float* packed) {
  const KeyRange present = KeyRange{p.first_key, p.kv_len}.within_block(first);
  const WordRows rows = key_rows(p, batch, kv_head, first + present.begin);
  if (p.k.element == Element::bf16 && !p.pairs) return pack_rows<true>(rows, wanted, present, packed);
  pack_rows(rows, wanted, present, packed);
}

/// Width of a row of values, filled up with 0 to whole vectors.
HWY_INLINE int64_t padded_values(int64_t value_dim) { return round_up(value_dim, lanes); }

/// Vectors of the panel that starts at dimension d.
HWY_INLINE int64_t panel_vectors(int64_t padded, int64_t d) {
  return (padded - d < tile_width ? padded - d : tile_width) / lanes;
}

/// The next `count` values of a row, or as many as a vector has; 0 where there are no more.
template <class T>
HWY_INLINE V load_values(const T* from, int64_t count) {
  if (count >= lanes) return widened(from);
  HWY_ALIGN T tail[lanes] = {};
  std::memcpy(tail, from, static_cast<size_t>(count) * sizeof(T));
  return widened(tail);
}

/// Copies one row of values into its panels, [block_keys][vectors * lanes] each; false if it holds inf or NaN.
template <class T>
HWY_INLINE bool pack_value_row(const T* from, int64_t value_dim, int64_t column, float* packed) {
  const F d;
  const int64_t padded = padded_values(value_dim);
  V check = hn::Zero(d);
  for (int64_t first = 0; first < padded; first += tile_width) {
    const int64_t width = panel_vectors(padded, first) * lanes;
    float* to = packed + first * block_keys + column * width;
    for (int64_t i = 0; i < width; i += lanes) {
      const V values = load_values(from + first + i, value_dim - first - i);
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

/// Whether a row holds neither inf nor NaN.
HWY_INLINE bool is_finite(const uint16_t* row, int64_t value_dim) {
  const F d;
  V check = hn::Zero(d);
  for (int64_t i = 0; i < value_dim; i += lanes) {
    check = hn::MulAdd(load_values(row + i, value_dim - i), hn::Zero(d), check);
  }
  return hn::AllTrue(d, hn::Eq(check, hn::Zero(d)));
}

/// Copies two rows of values, as words of an even key and the odd one after it, into panels
/// [block_keys / 2][vectors * lanes]; null stands for a row of 0.
HWY_INLINE void pack_value_pair(const uint16_t* even, const uint16_t* odd, int64_t value_dim, int64_t pair,
                                float* packed) {
  const F d;
  const hn::RebindToUnsigned<F> bits;
  const int64_t padded = padded_values(value_dim);
  const auto load = [&](const uint16_t* row, int64_t i) HWY_ATTR {
    return hn::BitCast(bits, row == nullptr ? hn::Zero(d) : load_values(row + i, value_dim - i));
  };
  for (int64_t first = 0; first < padded; first += tile_width) {
    const int64_t width = panel_vectors(padded, first) * lanes;
    float* to = packed + first * (block_keys / 2) + pair * width;
    for (int64_t i = 0; i < width; i += lanes) {
      const auto words = hn::Or(hn::ShiftRight<16>(load(even, first + i)), load(odd, first + i));
      hn::Store(hn::BitCast(d, words), d, to + i);
    }
  }
}

}  // namespace headscope::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
