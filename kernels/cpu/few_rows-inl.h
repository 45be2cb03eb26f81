// A few query rows, as decoding has them: keys and values are multiplied as they lie, because copies in the order of
// the register tile cost more than they save. Compiled once per vector target. Every product is the chain of
// multiply-adds that multiply_tile makes of packed numbers, so results have the same bits.
#if defined(HEADSCOPE_FEW_ROWS_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_FEW_ROWS_INL
#undef HEADSCOPE_FEW_ROWS_INL
#else
#define HEADSCOPE_FEW_ROWS_INL
#endif

#include "kernels/cpu/scores-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::cpu::HWY_NAMESPACE {

inline constexpr int64_t few_rows = 4;

/// Whether keys are read as they lie: not where they are turned, and not where a row is no whole number of quads.
HWY_INLINE bool reads_stored_keys(const CpuProblem& p) {
  const bool whole_words = p.k.element == Element::f32 || p.key_dim % 2 == 0;
  return !p.pairs && p.key_rotation.cosines == nullptr && whole_words && words_of(p.k, p.key_dim) % 4 == 0;
}
HWY_INLINE bool reads_stored_values(const CpuProblem& p) { return !p.pairs && p.value_dim % lanes == 0; }

/// Sums of up to 4 rows, one vector of keys each. Named, not an array: GCC keeps these in registers.
template <int kRows>
struct KeySums {
  V s0, s1, s2, s3;

  HWY_INLINE void clear() { s0 = s1 = s2 = s3 = hn::Zero(F()); }
  /// Adds one dimension of `lanes` keys times that of each query.
  HWY_INLINE void add(const float* query, int64_t stride, V keys) {
    const F d;
    s0 = hn::MulAdd(hn::Set(d, query[0]), keys, s0);
    if constexpr (kRows > 1) s1 = hn::MulAdd(hn::Set(d, query[stride]), keys, s1);
    if constexpr (kRows > 2) s2 = hn::MulAdd(hn::Set(d, query[2 * stride]), keys, s2);
    if constexpr (kRows > 3) s3 = hn::MulAdd(hn::Set(d, query[3 * stride]), keys, s3);
  }
  /// Adds one word of `lanes` keys.
  template <bool kWiden>
  HWY_INLINE void add_words(const float* query, int64_t stride, V words) {
    if constexpr (kWiden) {
      add(query, stride, lower_halves(words));
      add(query + 1, stride, upper_halves(words));
    } else {
      add(query, stride, words);
    }
  }
  HWY_INLINE void store(float* scores) const {
    const F d;
    hn::Store(s0, d, scores);
    if constexpr (kRows > 1) hn::Store(s1, d, scores + block_keys);
    if constexpr (kRows > 2) hn::Store(s2, d, scores + 2 * block_keys);
    if constexpr (kRows > 3) hn::Store(s3, d, scores + 3 * block_keys);
  }
};

/// Scaled dot products of kRows packed queries with 2 * lanes keys -> scores[row * block_keys + key].
template <int kRows, bool kWiden>
HWY_NOINLINE void multiply_stored_keys(const WordRows& keys, int64_t first, const float* query, int64_t stride,
                                       float* scores) {
  constexpr int64_t dims = kWiden ? 2 : 1;  // of a word
  const std::byte *left = keys.row(first), *right = keys.row(first + lanes);
  for (int64_t i = 0; i < 2 * lanes; ++i) prefetch_row(keys.row(first + 2 * lanes + i), keys.bytes());
  KeySums<kRows> a, b;
  a.clear();
  b.clear();
  for (int64_t w = 0; w < keys.words; w += 4, query += 4 * dims) {
    const WordQuad l = load_quad(left + 4 * w, keys.stride), r = load_quad(right + 4 * w, keys.stride);
    a.template add_words<kWiden>(query, stride, l.w0);
    b.template add_words<kWiden>(query, stride, r.w0);
    a.template add_words<kWiden>(query + dims, stride, l.w1);
    b.template add_words<kWiden>(query + dims, stride, r.w1);
    a.template add_words<kWiden>(query + 2 * dims, stride, l.w2);
    b.template add_words<kWiden>(query + 2 * dims, stride, r.w2);
    a.template add_words<kWiden>(query + 3 * dims, stride, l.w3);
    b.template add_words<kWiden>(query + 3 * dims, stride, r.w3);
  }
  a.store(scores);
  b.store(scores + lanes);
}

template <bool kWiden>
HWY_INLINE void multiply_stored_keys(int64_t rows, const WordRows& keys, int64_t first, const float* query,
                                     int64_t stride, float* scores) {
  if (rows > 2) return multiply_stored_keys<4, kWiden>(keys, first, query, stride, scores);
  if (rows > 1) return multiply_stored_keys<2, kWiden>(keys, first, query, stride, scores);
  multiply_stored_keys<1, kWiden>(keys, first, query, stride, scores);
}

/// What multiply_scores does, for up to few_rows rows. Tiles at the ends of what is there are packed, into memory that
/// larger chunks of the task are done with: so few rows are the last.
HWY_INLINE void multiply_few(const CpuProblem& p, int64_t batch, int64_t kv_head, const ScoreBlock& block) {
  const KeyRange present = KeyRange{p.first_key, p.kv_len}.within_block(block.first);
  const WordRows keys = key_rows(p, batch, kv_head, block.first + present.begin);
  const int64_t stride = query_stride(p);
  for (int64_t c = round_down(block.all.begin, tile_width); c < block.all.end; c += tile_width) {
    if (c < present.begin || c + tile_width > present.end) {
      const KeyRange tile{c, c + tile_width};
      float* packed = block.keys + c * packed_dim(p);
      pack_block(p, batch, kv_head, block.first, tile, block.keys);
      multiply_panel<tile_vectors>(block.count, block.queries, stride, packed, packed_dim(p), nullptr, block.scores + c,
                                   block_keys);
      continue;
    }
    for (int64_t i = c; i < c + tile_width; i += 2 * lanes) {
      if (p.k.element == Element::f32) {
        multiply_stored_keys<false>(block.count, keys, i - present.begin, block.queries, stride, block.scores + i);
      } else {
        multiply_stored_keys<true>(block.count, keys, i - present.begin, block.queries, stride, block.scores + i);
      }
    }
  }
}

/// result[row] = factors[row] * start[row] + sum over keys, in order, of weights[row * block_keys + key] *
/// values[key], for kVectors vectors of values; false, and no result, if any value is inf or NaN.
template <int kRows, int kVectors, class T>
HWY_NOINLINE bool multiply_stored_values(const float* weights, const T* values, int64_t stride, int64_t keys,
                                         const float* factors, const float* start, int64_t row_stride, float* result) {
  const F d;
  TileRow<kVectors> r0, r1, r2, r3;
  r0.load_scaled(start, factors[0]);
  if constexpr (kRows > 1) r1.load_scaled(start + row_stride, factors[1]);
  if constexpr (kRows > 2) r2.load_scaled(start + 2 * row_stride, factors[2]);
  if constexpr (kRows > 3) r3.load_scaled(start + 3 * row_stride, factors[3]);
  V check = hn::Zero(d), other_check = hn::Zero(d);
  for (int64_t key = 0; key < keys; ++key, ++weights, values += stride) {
    constexpr auto bytes = static_cast<int64_t>(kVectors * lanes * static_cast<int64_t>(sizeof(T)));
    prefetch_row(reinterpret_cast<const std::byte*>(values + rows_ahead * stride), bytes);
    TileRow<kVectors> b;
    b.v0 = widened(values);
    check = hn::MulAdd(b.v0, hn::Zero(d), check);
    if constexpr (kVectors > 1) {
      b.v1 = widened(values + lanes);
      other_check = hn::MulAdd(b.v1, hn::Zero(d), other_check);
    }
    if constexpr (kVectors > 2) {
      b.v2 = widened(values + 2 * lanes);
      check = hn::MulAdd(b.v2, hn::Zero(d), check);
    }
    if constexpr (kVectors > 3) {
      b.v3 = widened(values + 3 * lanes);
      other_check = hn::MulAdd(b.v3, hn::Zero(d), other_check);
    }
    r0.add(weights[0], b);
    if constexpr (kRows > 1) r1.add(weights[block_keys], b);
    if constexpr (kRows > 2) r2.add(weights[2 * block_keys], b);
    if constexpr (kRows > 3) r3.add(weights[3 * block_keys], b);
  }
  if (!hn::AllTrue(d, hn::Eq(hn::Add(check, other_check), hn::Zero(d)))) return false;
  r0.store(result);
  if constexpr (kRows > 1) r1.store(result + row_stride);
  if constexpr (kRows > 2) r2.store(result + 2 * row_stride);
  if constexpr (kRows > 3) r3.store(result + 3 * row_stride);
  return true;
}

/// Weights and sums of the rows of a block.
struct FewRows {
  int64_t rows;
  const float* weights;  ///< of the first key
  int64_t keys;
  const float* factors;
  float* sums;  ///< [few_rows][row_stride]
  int64_t row_stride;
};

template <int kRows, class T>
HWY_INLINE bool multiply_stored_values(const FewRows& few, int64_t vectors, const T* values, int64_t stride,
                                       const float* start, float* result) {
  const auto multiply = [&](auto count) HWY_ATTR {
    return multiply_stored_values<kRows, decltype(count)::value>(few.weights, values, stride, few.keys, few.factors,
                                                                 start, few.row_stride, result);
  };
  if constexpr (tile_vectors > 2) {
    if (vectors == 4) return multiply(std::integral_constant<int, 4>());
    if (vectors == 3) return multiply(std::integral_constant<int, 3>());
  }
  if (vectors == 2) return multiply(std::integral_constant<int, 2>());
  return multiply(std::integral_constant<int, 1>());
}

/// Adds weights times values to the sums; false, with nothing changed, if a value is inf or NaN. `made` [few_rows]
/// [row_stride] is for results on their way.
template <class T>
HWY_INLINE bool add_stored_values(const FewRows& few, const T* values, int64_t stride, int64_t value_dim, float* made) {
  for (int64_t first = 0; first < value_dim; first += tile_width) {
    const int64_t vectors = panel_vectors(value_dim, first);
    const float* start = few.sums + first;
    const bool good =
        few.rows > 2   ? multiply_stored_values<4>(few, vectors, values + first, stride, start, made + first)
        : few.rows > 1 ? multiply_stored_values<2>(few, vectors, values + first, stride, start, made + first)
                       : multiply_stored_values<1>(few, vectors, values + first, stride, start, made + first);
    if (!good) return false;
  }
  for (int64_t row = 0; row < few.rows; ++row) {
    std::memcpy(few.sums + row * few.row_stride, made + row * few.row_stride,
                static_cast<size_t>(value_dim) * sizeof(float));
  }
  return true;
}

}  // namespace headscope::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
