// The pooled maps that a forward pass makes on its way, compiled once per vector target.
#if defined(HEADSCOPE_THUMBNAILS_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_THUMBNAILS_INL
#undef HEADSCOPE_THUMBNAILS_INL
#else
#define HEADSCOPE_THUMBNAILS_INL
#endif

#include <cmath>

#include "kernels/cpu/sums-inl.h"
#include "kernels/shared_cells.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::cpu::HWY_NAMESPACE {

/// Calls `note(bin, first column, end column)` for the key bins that a row's keys in a block fall into.
template <class Note>
HWY_INLINE void for_each_bin(const Thumbnails& wanted, int64_t block_first, KeyRange seen, const Note& note) {
  const int64_t begin = block_first + seen.begin, end = std::min(block_first + seen.end, wanted.cells * wanted.bin);
  for (int64_t key = begin, bin = begin / wanted.bin; key < end; ++bin) {
    const int64_t stop = std::min(end, (bin + 1) * wanted.bin);
    note(bin, key - block_first, stop - block_first);
    key = stop;
  }
}

/// Writes the pooled rows of one head's query rows. Rows of the same cells are joined before they go to the maps, which
/// other tasks share.
class ThumbnailRows {
 public:
  /// `totals` [cells, in whole vectors]: scratch.
  ThumbnailRows(const CpuProblem& p, const Thumbnails& wanted, int64_t batch, int64_t* totals)
      : p_(p), wanted_(wanted), batch_(batch), totals_(totals) {}

  static int64_t* carve(Carver& carver, const SumsShape& shape) { return carver.take<int64_t>(shape.bin_sums); }

  /// Whether a row at `position` is in the maps at all.
  static bool records(const Thumbnails& wanted, int64_t position) {
    return position >= 0 && position < wanted.cells * wanted.bin;
  }

  /// Adds `count` rows whose sums are complete, in slots [0, count).
  void add(const QueryRow* rows, int64_t count, const Sums& sums) const {
    for (int64_t slot = 0; slot < count; ++slot) {
      const int64_t cell_row = cell_row_of(rows[slot]);
      if (cell_row < 0) continue;
      const bool first = slot == 0 || cell_row_of(rows[slot - 1]) != cell_row;
      const bool last = slot + 1 == count || cell_row_of(rows[slot + 1]) != cell_row;
      if (wanted_.max) add_max(rows[slot], cell_row, slot, sums, first, last);
      if (wanted_.sum) add_sums(rows[slot], cell_row, slot, sums, first, last);
    }
  }

 private:
  /// Row of cells of a query row, counted over all heads; -1 where it is not recorded.
  int64_t cell_row_of(const QueryRow& row) const {
    if (!records(wanted_, row.position)) return -1;
    return (batch_ * p_.q_heads + row.head) * wanted_.cells + row.position / wanted_.bin;
  }

  template <class Mark>
  void mark_seen(const QueryRow& row, const Mark& mark) const {
    const int64_t end = std::min(row.keys.end, wanted_.cells * wanted_.bin);
    for (int64_t key = row.keys.begin; key < end; ++key) {
      if (row.sees(key)) mark(key / wanted_.bin);
    }
  }

  void add_max(const QueryRow& row, int64_t cell_row, int64_t slot, const Sums& sums, bool first, bool last) const {
    const F d;
    const RowState state(sums.panel_of(slot), slot % panel_rows);
    float* bins = sums.bin_max_of(slot);
    if (std::isnan(state.sum)) {
      std::fill_n(bins, sums.shape.bin_max, 0.0F);
      mark_seen(row, [&](int64_t bin) { bins[bin] = std::numeric_limits<float>::quiet_NaN(); });
    } else {
      const V shift = hn::Set(d, state.sum == 0 ? 0.0F : state.row_max);
      const V inverse = hn::Set(d, state.sum == 0 ? 0.0F : static_cast<float>(1 / state.sum));
      for (int64_t c = 0; c < wanted_.cells; c += lanes) {
        hn::Store(hn::Mul(exp_negative(hn::Sub(hn::Load(d, bins + c), shift)), inverse), d, bins + c);
      }
    }
    if (!first) {
      const float* before = sums.bin_max_of(slot - 1);
      for (int64_t c = 0; c < wanted_.cells; c += lanes) {
        hn::Store(larger(hn::Load(d, before + c), hn::Load(d, bins + c)), d, bins + c);
      }
    }
    if (!last) return;
    for (int64_t c = 0; c < wanted_.cells; ++c) raise_cell(wanted_.max + cell_row * wanted_.cells + c, bins[c]);
  }

  void add_sums(const QueryRow& row, int64_t cell_row, int64_t slot, const Sums& sums, bool first, bool last) const {
    const RowState state(sums.panel_of(slot), slot % panel_rows);
    if (first) std::fill_n(totals_, wanted_.cells, int64_t{0});
    if (std::isnan(state.sum)) {
      mark_seen(row, [&](int64_t bin) { totals_[bin] = Thumbnails::sum_of_nan; });
    } else if (state.sum > 0) {
      add_whole(sums.bin_sums_of(slot), static_cast<float>(1 / (state.sum * Thumbnails::sum_unit)));
    }
    if (!last) return;
    for (int64_t c = 0; c < wanted_.cells; ++c) add_to_cell(wanted_.sum + cell_row * wanted_.cells + c, totals_[c]);
  }

  /// Adds bins times `scale`, rounded to whole numbers.
  void add_whole(const float* bins, float scale) const {
    const F d;
    HWY_ALIGN int32_t whole[lanes];
    const hn::RebindToSigned<F> di;
    for (int64_t c = 0; c < wanted_.cells; c += lanes) {
      hn::Store(hn::NearestInt(hn::Mul(hn::Load(d, bins + c), hn::Set(d, scale))), di, whole);
      for (int64_t lane = 0; lane < lanes && c + lane < wanted_.cells; ++lane) totals_[c + lane] += whole[lane];
    }
  }

  const CpuProblem& p_;
  const Thumbnails& wanted_;
  const int64_t batch_;
  int64_t* totals_;
};

}  // namespace headscope::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
