// Some query rows of a forward pass on their way over the keys, compiled once per vector target.
#if defined(HEADSCOPE_CHUNK_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_CHUNK_INL
#undef HEADSCOPE_CHUNK_INL
#else
#define HEADSCOPE_CHUNK_INL
#endif

#include "kernels/cpu/bin_sums-inl.h"
#include "kernels/cpu/few_rows-inl.h"
#include "kernels/cpu/row_results.h"
#include "kernels/cpu/softmax-inl.h"
#include "kernels/cpu/thumbnails-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::cpu::HWY_NAMESPACE {

/// One block of values, packed: [padded_values][block_keys] in panels, of pairs [padded_values][block_keys / 2].
struct ValueBlock {
  float* packed;
  int32_t* bad_keys;  ///< [block_keys], columns whose values hold inf or NaN; 0 stands for them in `packed`
  int64_t bad_count;

  static ValueBlock carve(Carver& carver, const CpuProblem& p) {
    ValueBlock block{};
    block.packed = carver.take<float>(padded_values(p.value_dim) * (p.pairs ? block_keys / 2 : block_keys));
    block.bad_keys = carver.take<int32_t>(block_keys);
    return block;
  }

  /// Takes the columns `wanted` of the block of keys that starts at `first`.
  void pack(const CpuProblem& p, int64_t batch, int64_t kv_head, int64_t first, KeyRange wanted) {
    bad_count = 0;
    if (p.pairs) return pack_pairs(p, batch, kv_head, first, wanted);
    for (int64_t c = wanted.begin; c < wanted.end; ++c) {
      const int64_t row = first + c - p.first_key;
      const bool good = p.v.element == Element::f32 ? pack_row(p.v.row(batch, kv_head, row), p, c)
                                                    : pack_row(p.v.row<uint16_t>(batch, kv_head, row), p, c);
      if (good) continue;
      clear_value_row(p.value_dim, c, packed);
      bad_keys[bad_count++] = static_cast<int32_t>(c);
    }
  }

 private:
  template <class T>
  bool pack_row(const T* row, const CpuProblem& p, int64_t column) const {
    fetch_later(row, p);
    return pack_value_row(row, p.value_dim, column, packed);
  }
  template <class T>
  static void fetch_later(const T* row, const CpuProblem& p) {
    prefetch_row(reinterpret_cast<const std::byte*>(row + rows_ahead * p.v.row_stride),
                 p.value_dim * static_cast<int64_t>(sizeof(T)));
  }

  /// Keys that are not wanted but are the other one of a pair count as rows of 0.
  void pack_pairs(const CpuProblem& p, int64_t batch, int64_t kv_head, int64_t first, KeyRange wanted) {
    const auto values_of = [&](int64_t c) HWY_ATTR -> const uint16_t* {
      if (c < wanted.begin || c >= wanted.end) return nullptr;
      const uint16_t* row = p.v.row<uint16_t>(batch, kv_head, first + c - p.first_key);
      fetch_later(row, p);
      if (is_finite(row, p.value_dim)) return row;
      bad_keys[bad_count++] = static_cast<int32_t>(c);
      return nullptr;
    };
    for (int64_t c = round_down(wanted.begin, 2); c < wanted.end; c += 2) {
      const uint16_t* even = values_of(c);
      pack_value_pair(even, values_of(c + 1), p.value_dim, c / 2, packed);
    }
  }
};

/// What chunks of one task share, in a worker's workspace.
struct ChunkScratch {
  ScoreBlock scores;  ///< its part for keys and scores
  ValueBlock values;
  float* factors;       ///< [chunk_rows / panel_rows][panel_floats], the shrinkage of a block
  float* pairs;         ///< [chunk_rows][block_keys / 2], weights in bf16, where values are multiplied in pairs
  float* made;          ///< [few_rows][padded_values], for add_stored_values
  int64_t* bin_totals;  ///< for ThumbnailRows

  static ChunkScratch carve(Carver& carver, const CpuProblem& p, const SumsShape& shape) {
    ChunkScratch scratch{};
    scratch.scores.carve_keys(carver, p);
    scratch.values = ValueBlock::carve(carver, p);
    scratch.factors = carver.take<float>(chunk_rows / panel_rows * panel_floats);
    scratch.pairs = carver.take<float>(p.pairs ? chunk_rows * block_keys / 2 : 0);
    scratch.made = carver.take<float>(few_rows * shape.values);
    scratch.bin_totals = ThumbnailRows::carve(carver, shape);
    return scratch;
  }
};

/// Up to chunk_rows rows of a task.
class Chunk {
 public:
  /// Slots [first, first + count) of the task.
  Chunk(const CpuProblem& problem, const AttentionOutput& output, const Task& task, int64_t first, int64_t count,
        const ScoreBlock& rows, ChunkScratch& scratch)
      : p_(problem),
        output_(output),
        task_(task),
        block_(rows),
        scratch_(scratch),
        statistics_(output.statistics.entropy || output.statistics.distance || output.statistics.distance_variance) {
    block_.keys = scratch.scores.keys;
    block_.scores = scratch.scores.scores;
    block_.count = count;
    for (int64_t slot = 0; slot < count; ++slot) {
      const int64_t in_task = first + slot;
      block_.rows[slot] =
          query_row(p_, task_.first_head + in_task / task_.rows, task_.first_row + in_task % task_.rows);
    }
  }

  void pack() const { pack_queries(p_, task_.batch, block_.rows, block_.count, block_.queries); }

  /// Keys that any row sees.
  KeyRange keys() const {
    KeyRange all;
    for (int64_t slot = 0; slot < block_.count; ++slot) all.unite(block_.rows[slot].keys);
    return all;
  }

  /// From now on blocks are added to `sums`, cleared.
  void collect_in(const Sums& sums) {
    sums_ = sums;
    sums_.clear(block_.count);
  }

  /// Moves on to the block of keys that starts at `first`; returns the columns that any row sees.
  KeyRange start(int64_t first) {
    block_.start(first);
    return block_.all;
  }

  /// Whether keys, and values, are read as they lie.
  bool stored_keys() const { return block_.count <= few_rows && reads_stored_keys(p_); }
  bool stored_values() const { return block_.count <= few_rows && reads_stored_values(p_); }

  /// Adds the block, whose keys and values are packed if they have to be.
  void add_block() {
    if (block_.all.empty()) return;
    if (stored_keys()) {
      multiply_few(p_, task_.batch, task_.kv_head, block_);
    } else {
      multiply_packed(p_, block_);
    }
    for (int64_t slot = 0; slot < block_.count; slot += panel_rows) softmax_panel(slot);
    if (output_.out.data) add_values();
  }

  void fold_into(const Sums& all, const Sums& later) const { fold(all, later, block_.count); }

  /// Results from the sums over all keys.
  void write(const Sums& all) const {
    for (int64_t slot = 0; slot < block_.count; ++slot) {
      const RowState state(all.panel_of(slot), slot % panel_rows);
      write_row(p_, output_, task_.batch, block_.rows[slot], state, all.values_of(slot));
      if (output_.scores.data) capture_unseen(block_.rows[slot]);
    }
    const ThumbnailRows thumbnails(p_, output_.thumbnails, task_.batch, scratch_.bin_totals);
    thumbnails.add(block_.rows, block_.count, all);
  }

 private:
  float* factors_of(int64_t slot) const { return scratch_.factors + slot / panel_rows * panel_floats; }

  /// Scores of a panel -> weights, in place, and the sums of its rows.
  void softmax_panel(int64_t slot) {
    const KeyRange span = block_.span(slot);
    if (span.empty()) return;
    const int64_t rows = rows_in_panel(block_, slot);
    PanelState& state = sums_.panel_of(slot);
    BlockSums sums;
    for (int64_t i = 0; i < rows; ++i) find_peak(slot + i, span, state, i, sums);
    float* factors = factors_of(slot);
    raise_maxima(state, sums.peak, factors);
    for (int64_t i = 0; i < rows; ++i) {
      if (sums_.shape.bin_sums > 0) shrink_bins(slot + i, factors[i]);
      const auto column = static_cast<int64_t>(sums.peak_key[i]) - block_.first;
      float* scores = block_.row_scores(slot + i);
      if (statistics_) {
        weigh<true>(state.row_max[i], span, column, scores, i, sums);
      } else {
        weigh<false>(state.row_max[i], span, column, scores, i, sums);
      }
      add_ranges(slot + i, scores, i, sums);
    }
    join(state, sums);
  }

  /// Scores of one row, and its peak in this block.
  void find_peak(int64_t slot, KeyRange span, PanelState& state, int64_t lane, BlockSums& sums) {
    const KeyRange seen = block_.columns(slot);
    float* scores = block_.row_scores(slot);
    const float peak = finish_scores(ScoreTerms(p_, block_, block_.rows[slot]), seen, span, scores);
    if (output_.scores.data) capture(block_.rows[slot], seen, scores);
    const bool raised = peak > state.row_max[lane];
    const int64_t key = block_.first + (statistics_ || raised ? column_of(peak, span, scores) : span.begin);
    if (raised) state.argmax[lane] = key;
    sums.peak[lane] = peak;
    sums.peak_key[lane] = static_cast<double>(key);
    if (sums_.shape.bin_max > 0) note_peaks(slot, seen, scores);
  }

  float* captured(const QueryRow& row) const { return output_.scores.row(task_.batch, row.head, row.row); }

  /// Writes the scores of columns `seen`. ALiBi was taken from the query's position on; here it counts from key 0.
  void capture(const QueryRow& row, KeyRange seen, const float* scores) const {
    float* to = captured(row) + block_.first;
    if (row.slope == 0) {
      std::copy(scores + seen.begin, scores + seen.end, to + seen.begin);
      return;
    }
    const double shift = double{row.slope} * static_cast<double>(row.position);
    for (int64_t c = seen.begin; c < seen.end; ++c) to[c] = static_cast<float>(double{scores[c]} + shift);
  }

  void capture_unseen(const QueryRow& row) const {
    float* to = captured(row);
    std::fill(to, to + row.keys.begin, minus_infinity);
    std::fill(to + row.keys.end, to + p_.kv_len, minus_infinity);
  }

  void shrink_bins(int64_t slot, float factor) const {
    if (factor == 1) return;
    float* bins = sums_.bin_sums_of(slot);
    for (int64_t bin = 0; bin < sums_.shape.bin_sums; ++bin) bins[bin] *= factor;
  }

  /// What ranges of keys weigh: sink, window and the bins of thumbnails.
  void add_ranges(int64_t slot, const float* weights, int64_t lane, BlockSums& sums) const {
    const RowStatistics& wanted = output_.statistics;
    const KeyRange seen = block_.columns(slot);
    const int64_t position = block_.rows[slot].position;
    const auto weight_of = [&](KeyRange keys) HWY_ATTR {
      const KeyRange part = keys.within_block(block_.first).intersect(seen);
      return part.empty() ? 0.0F : sum_range(weights, part.begin, part.end);
    };
    if (wanted.sink) sums.sink[lane] = weight_of({0, wanted.sink_tokens});
    if (wanted.window) sums.window[lane] = weight_of({position - wanted.window_tokens + 1, position + 1});
    if (sums_.shape.bin_sums > 0) note_sums(slot, seen, weights);
  }

  void note_peaks(int64_t slot, KeyRange seen, const float* scores) const {
    if (!ThumbnailRows::records(output_.thumbnails, block_.rows[slot].position)) return;
    float* bins = sums_.bin_max_of(slot);
    for_each_bin(output_.thumbnails, block_.first, seen, [&](int64_t bin, int64_t begin, int64_t end) HWY_ATTR {
      bins[bin] = max_range(scores, begin, end, bins[bin]);
    });
  }

  void note_sums(int64_t slot, KeyRange seen, const float* weights) const {
    if (!ThumbnailRows::records(output_.thumbnails, block_.rows[slot].position)) return;
    float* bins = sums_.bin_sums_of(slot);
    const Thumbnails& wanted = output_.thumbnails;
    const bool whole = seen.begin == 0 && seen.end == block_keys && bins_are_whole(wanted.bin);
    if (whole && block_.first + block_keys <= wanted.cells * wanted.bin) {
      return add_bins(weights, wanted.bin, bins + block_.first / wanted.bin);
    }
    for_each_bin(wanted, block_.first, seen, [&](int64_t bin, int64_t begin, int64_t end) HWY_ATTR {
      bins[bin] += sum_range(weights, begin, end);
    });
  }

  void add_values() {
    if (stored_values()) {
      if (add_stored()) return;
      scratch_.values.pack(p_, task_.batch, task_.kv_head, block_.first, block_.all);
    }
    const int64_t padded = padded_values(p_.value_dim);
    if (p_.pairs) round_weights();
    for (int64_t first = 0; first < padded; first += tile_width) {
      const int64_t vectors = panel_vectors(padded, first);
      for (int64_t slot = 0; slot < block_.count; slot += panel_rows) {
        if (block_.span(slot).empty()) continue;
        if (p_.pairs) {
          multiply_pairs(slot, first, vectors);
        } else {
          multiply_values(slot, first, vectors);
        }
      }
    }
    add_bad_values();
  }

  bool add_stored() {
    const KeyRange seen = block_.all;  // that of the one panel
    const FewRows few{block_.count,          block_.row_scores(0) + seen.begin,
                      seen.end - seen.begin, factors_of(0),
                      sums_.values_of(0),    sums_.shape.values};
    const InputRows& v = p_.v;
    const int64_t row = block_.first + seen.begin - p_.first_key;
    if (v.element == Element::f32) {
      return add_stored_values(few, v.row(task_.batch, task_.kv_head, row), v.row_stride, p_.value_dim, scratch_.made);
    }
    return add_stored_values(few, v.row<uint16_t>(task_.batch, task_.kv_head, row), v.row_stride, p_.value_dim,
                             scratch_.made);
  }

  /// Adds a panel's weights times the values of dimensions [first, first + vectors * lanes).
  void multiply_values(int64_t slot, int64_t first, int64_t vectors) const {
    const KeyRange seen = block_.span(slot);
    const float* values = scratch_.values.packed + first * block_keys + seen.begin * vectors * lanes;
    multiply_panel(vectors, rows_in_panel(block_, slot), block_.row_scores(slot) + seen.begin, block_keys, values,
                   seen.end - seen.begin, factors_of(slot), sums_.values_of(slot) + first, sums_.shape.values);
  }

  float* pairs_of(int64_t slot) const { return scratch_.pairs + slot * (block_keys / 2); }
  /// The pairs of keys that hold what a panel sees. A key beside it has a weight of 0.
  KeyRange pairs_seen(int64_t slot) const {
    const KeyRange seen = block_.span(slot);
    return {seen.begin / 2, (seen.end + 1) / 2};
  }
  void round_weights() const {
    for (int64_t slot = 0; slot < block_.count; ++slot) {
      const KeyRange pairs = pairs_seen(slot);
      if (block_.span(slot).empty()) continue;
      avx512bf16::round_pairs(block_.row_scores(slot) + 2 * pairs.begin, 2 * (pairs.end - pairs.begin),
                              pairs_of(slot) + pairs.begin);
    }
  }
  void multiply_pairs(int64_t slot, int64_t first, int64_t vectors) const {
    const KeyRange pairs = pairs_seen(slot);
    const float* values = scratch_.values.packed + first * (block_keys / 2) + pairs.begin * vectors * lanes;
    avx512bf16::multiply_rows(vectors, rows_in_panel(block_, slot), pairs_of(slot) + pairs.begin, block_keys / 2,
                              values, pairs.end - pairs.begin, factors_of(slot), 1, sums_.values_of(slot) + first,
                              sums_.shape.values);
  }

  /// Values that hold inf or NaN reach only the rows that see them: in the product above, a weight of 0 would
  /// carry NaN into rows that do not.
  void add_bad_values() const {
    for (int64_t i = 0; i < scratch_.values.bad_count; ++i) {
      const int64_t c = scratch_.values.bad_keys[i];
      const int64_t value_row = block_.first + c - p_.first_key;
      for (int64_t slot = 0; slot < block_.count; ++slot) {
        const QueryRow& row = block_.rows[slot];
        const KeyRange seen = block_.columns(slot);
        if (c < seen.begin || c >= seen.end || !row.sees(block_.first + c)) continue;
        const float weight = block_.row_scores(slot)[c];
        float* sums = sums_.values_of(slot);
        for (int64_t d = 0; d < p_.value_dim; ++d)
          sums[d] += weight * p_.v.at(task_.batch, task_.kv_head, value_row, d);
      }
    }
  }

  const CpuProblem& p_;
  const AttentionOutput& output_;
  const Task& task_;
  ScoreBlock block_;
  ChunkScratch& scratch_;
  const bool statistics_;  ///< those that need a term for every key
  Sums sums_{};
};

}  // namespace headscope::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
