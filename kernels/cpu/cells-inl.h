// Weights of a block of scores when the log-sum-exp is known, and their sums and maxima over cells, compiled once per
// vector target. A maximum is taken of exponents: one exponential a cell is enough, because exp_rising never falls.
#if defined(HEADSCOPE_CELLS_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_CELLS_INL
#undef HEADSCOPE_CELLS_INL
#else
#define HEADSCOPE_CELLS_INL
#endif

#include <cmath>
#include <limits>

#include "kernels/cpu/cell_cut.h"
#include "kernels/cpu/row_shift-inl.h"
#include "kernels/cpu/scores-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::cpu::HWY_NAMESPACE {

inline constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();
/// Stands for NaN among exponents, where maxima would lose NaN. No exponent of a sound row is above about 0.
inline constexpr float spoiled_exponent = std::numeric_limits<float>::infinity();

/// The log-sum-exp of a row.
struct KnownRow {
  RowShift shift;
  bool spoiled;  ///< it is NaN
  bool empty;

  KnownRow(const QueryRow& row, float row_max, float log_sum)
      : shift(row, row_max, log_sum),
        spoiled(std::isnan(row_max) || std::isnan(log_sum)),
        empty(row_max == minus_infinity) {}
};

/// The weight of an exponent, which may be spoiled.
HWY_INLINE V weight_of(V exponent) {
  const F d;
  const M spoiled = hn::Eq(exponent, hn::Set(d, spoiled_exponent));
  return hn::IfThenElse(spoiled, hn::Set(d, not_a_number), exp_rising(exponent));
}

/// What is kept of the rows of a group, for each column of a block.
struct ColumnPool {
  float* sums;     ///< [block_keys + lanes], of weights; 0 where no row was added
  float* peaks;    ///< [block_keys + lanes], largest exponent; -inf where no row was added
  float* windows;  ///< [block_keys]

  static ColumnPool carve(Carver& carver) {
    ColumnPool pool{};
    pool.sums = carver.take<float>(block_keys + lanes);
    pool.peaks = carver.take<float>(block_keys + lanes);
    pool.windows = carver.take<float>(block_keys);
    return pool;
  }
  void clear() const {
    const F d;
    for (int64_t c = 0; c < block_keys + lanes; c += lanes) {
      hn::Store(hn::Zero(d), d, sums + c);
      hn::Store(hn::Set(d, minus_infinity), d, peaks + c);
    }
  }
};

/// What add_row keeps. Where weights are computed, they replace the scores. Weights alone are those that maxima of
/// exponents turn into; the others are computed faster.
enum class Keep { weights, sums, peaks, sums_and_peaks };

template <Keep keep>
HWY_INLINE void add_exponents(RowShift shift, KeyRange span, float* scores, const ColumnPool& pool) {
  const F d;
  float *sums = pool.sums, *peaks = pool.peaks;  // local, or they are loaded anew after each store
  for (int64_t c = round_down(span.begin, lanes); c < span.end; c += lanes) {
    const V x = shift.below(hn::Load(d, scores + c));
    if constexpr (keep == Keep::peaks || keep == Keep::sums_and_peaks) {
      hn::Store(hn::Max(x, hn::Load(d, peaks + c)), d, peaks + c);
    }
    if constexpr (keep != Keep::peaks) {
      const V weight = keep == Keep::weights ? exp_rising(x) : exp_negative(x);
      hn::Store(weight, d, scores + c);
      if constexpr (keep != Keep::weights) hn::Store(hn::Add(weight, hn::Load(d, sums + c)), d, sums + c);
    }
  }
}

/// A row without weights: NaN at the keys it sees if its log-sum-exp is NaN, 0 elsewhere.
inline void add_without_weights(const QueryRow& row, const KnownRow& known, KeyRange seen, KeyRange span,
                                int64_t first_key, float* scores, const ColumnPool& pool) {
  for (int64_t c = round_down(span.begin, lanes); c < round_up(span.end, lanes); ++c) scores[c] = 0;
  for (int64_t c = seen.begin; known.spoiled && c < seen.end; ++c) {
    if (!row.sees(first_key + c)) continue;
    scores[c] = pool.sums[c] = not_a_number;
    pool.peaks[c] = spoiled_exponent;
  }
}

/// Adds row `slot` of a block to the pool, over the vectors that cover `span` (at least what the row sees).
template <Keep keep>
HWY_INLINE void add_row(const CpuProblem& p, const ScoreBlock& block, int64_t slot, const KnownRow& known,
                        KeyRange span, const ColumnPool& pool) {
  const QueryRow& row = block.rows[slot];
  const KeyRange seen = block.columns(slot);
  float* scores = block.row_scores(slot);
  if (known.spoiled || known.empty) {
    return add_without_weights(row, known, seen, span, block.first, scores, pool);
  }
  finish_scores(ScoreTerms(p, block, row), seen, span, scores);
  add_exponents<keep>(known.shift, span, scores, pool);
}

/// Adds columns `span`, rounded out to whole vectors, to doubles.
HWY_INLINE void add_to_doubles(KeyRange span, const float* columns, double* sums) {
  const hn::Repartition<double, F> d64;
  const hn::Rebind<float, decltype(d64)> d32;
  for (int64_t c = round_down(span.begin, lanes); c < span.end; c += lanes / 2) {
    hn::StoreU(hn::Add(hn::LoadU(d64, sums + c), hn::PromoteTo(d64, hn::Load(d32, columns + c))), d64, sums + c);
  }
}

/// Columns that any of the rows [slot, end) sees.
HWY_INLINE KeyRange group_span(const ScoreBlock& block, int64_t slot, int64_t end) {
  KeyRange span;
  for (int64_t i = slot; i < end; ++i) span.unite(block.columns(i));
  return span;
}

// --- from columns to cells -------------------------------------------------------------------------------------

struct SumOfColumns {
  static HWY_INLINE V both(V a, V b) { return hn::Add(a, b); }
  static HWY_INLINE float range(const float* columns, int64_t begin, int64_t end) {
    return sum_range(columns, begin, end);
  }
};

struct PeakOfColumns {
  static HWY_INLINE V both(V a, V b) { return hn::Max(a, b); }
  static HWY_INLINE float range(const float* columns, int64_t begin, int64_t end) {
    return max_range(columns, begin, end, minus_infinity);
  }
};

/// windows[c] = columns c to c + bin - 1 in one, for all c and a bin below `lanes`. The binary digits of the bin say
/// which of the widths 1, 2, 4, ... it is made of; each doubles the one before, in place.
template <class Op>
HWY_INLINE void fold_windows(int64_t bin, float* columns, float* windows) {
  const F d;
  int64_t covered = 0;
  for (int64_t width = 1; width <= bin; width *= 2) {
    if (bin & width) {
      for (int64_t c = 0; c < block_keys; c += lanes) {
        const V next = hn::LoadU(d, columns + c + covered);
        hn::Store(covered == 0 ? next : Op::both(hn::Load(d, windows + c), next), d, windows + c);
      }
      covered += width;
    }
    if (2 * width > bin) return;
    for (int64_t c = 0; c < block_keys; c += lanes) {
      hn::Store(Op::both(hn::Load(d, columns + c), hn::LoadU(d, columns + c + width)), d, columns + c);
    }
  }
}

/// Calls visit(i, value) for the cells [i * bin, (i + 1) * bin) of a block that meet `span`; a last cell that is cut
/// counts as far as the block goes. May destroy the columns.
template <class Op, class Visit>
HWY_INLINE void fold_columns(int64_t bin, KeyRange span, float* columns, float* windows, const Visit& visit) {
  if (span.empty()) return;
  const int64_t begin = span.begin / bin, end = (span.end - 1) / bin + 1;
  if (bin < lanes) {
    fold_windows<Op>(bin, columns, windows);
    for (int64_t i = begin; i < end; ++i) visit(i, windows[i * bin]);
    return;
  }
  for (int64_t i = begin; i < end; ++i) {
    const int64_t stop = (i + 1) * bin < block_keys ? (i + 1) * bin : block_keys;
    visit(i, Op::range(columns, i * bin, stop));
  }
}

}  // namespace headscope::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
