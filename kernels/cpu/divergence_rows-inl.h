// Sums over whole rows that the divergences of all head pairs are made of, compiled once per vector target.
#if defined(HEADSCOPE_DIVERGENCE_ROWS_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_DIVERGENCE_ROWS_INL
#undef HEADSCOPE_DIVERGENCE_ROWS_INL
#else
#define HEADSCOPE_DIVERGENCE_ROWS_INL
#endif

#include <algorithm>
#include <stop_token>

#include "kernels/cpu/row_shift-inl.h"
#include "kernels/cpu/scores-inl.h"
#include "kernels/divergence.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::cpu::HWY_NAMESPACE {

/// Roundings in a sum over a row's part of a block of keys: one for each vector, which are then added in double, and
/// a few in each term.
inline constexpr double pair_roundings = static_cast<double>(block_keys) / lanes + 8;

/// Exact: the sum of m log2(m) over keys, m = (p + q) / 2. With m = p for equal heads, each pair of heads i, j has
/// JSD = ln 2 * ((sum_ii + sum_jj) / 2 - sum_ij), which is 0 to the bit where the weights are equal.
struct ExactTerm {
  static constexpr double one_empty = -0.5;  ///< what (0 + q) / 2 lacks: the other half is on a key of its own

  /// From score - lse to the weight that `add` takes.
  static HWY_INLINE V weight(V x) { return hn::Mul(hn::Set(F(), 0.5F), exp_rising(x)); }
  static HWY_INLINE V add(V sum, V p, V q) {
    const V m = hn::Add(p, q);
    return hn::MulAdd(m, log2_positive(m), sum);
  }
};

/// Hellinger: the sum of (sqrt(p) - sqrt(q))^2 over keys, 2 * h2. Not 1 - sum sqrt(p q): that would lose the small
/// differences of heads that are nearly equal, for one addition less.
struct HellingerTerm {
  static constexpr double one_empty = 1;

  static HWY_INLINE V weight(V x) { return exp_rising(hn::Mul(hn::Set(F(), 0.5F), x)); }
  static HWY_INLINE V add(V sum, V p, V q) {
    const V apart = hn::Sub(p, q);
    return hn::MulAdd(apart, apart, sum);
  }
};

/// How the rows of a request are cut. Nothing here depends on the number of workers.
struct DivergencePlan {
  int64_t rows, heads;
  int64_t group;       ///< query heads of a KV head
  int64_t strip_rows;  ///< rows whose weights of all heads lie in the scratch at a time
  int64_t part_heads;  ///< heads of one KV head whose scores are computed together
  int64_t parts_per_group, parts;
  int64_t strips, strips_per_task, tasks;
  int64_t pairs;  ///< heads with themselves included

  DivergencePlan(const CpuProblem& p, const DivergenceRequest& request)
      : rows(request.row_end - request.row_begin), heads(p.q_heads), group(p.q_heads / p.kv_heads) {
    strip_rows = std::min(round_up(rows, panel_rows), rows_in_cache(heads));
    part_heads = std::min(group, chunk_rows / strip_rows);
    parts_per_group = (group + part_heads - 1) / part_heads;
    parts = p.kv_heads * parts_per_group;
    strips = (rows + strip_rows - 1) / strip_rows;
    strips_per_task = (strips + most_tasks - 1) / most_tasks;
    tasks = (strips + strips_per_task - 1) / strips_per_task;
    pairs = heads * (heads + 1) / 2;
  }

  int64_t first_head(int64_t part) const {
    return part / parts_per_group * group + part % parts_per_group * part_heads;
  }
  int64_t head_count(int64_t part) const { return std::min(part_heads, group - part % parts_per_group * part_heads); }
  int64_t part_slots() const { return round_up(part_heads * strip_rows, panel_rows); }

  /// Place of the pairs (i, i), (i, i + 1), ... in sums.
  int64_t pair_row(int64_t i) const { return i * heads - i * (i - 1) / 2; }

 private:
  static constexpr int64_t most_tasks = 256;            ///< each has sums of its own
  static constexpr int64_t cached_weights = 768 * 256;  ///< a good part of 1 MiB of L2

  /// Fewer than 24 rows would be slower by packing the keys too often than by leaving the cache.
  static int64_t rows_in_cache(int64_t heads) {
    return std::clamp(round_down(cached_weights / (heads * block_keys), panel_rows), 4 * panel_rows, chunk_rows);
  }
};

/// Memory of one worker.
struct DivergenceScratch {
  ScoreBlock block;  ///< its keys and scores serve all parts
  QueryRow* rows;    ///< [parts][part_slots]
  float* queries;    ///< [parts][part_slots][query_stride], packed
  float* weights;    ///< [strip_rows][heads][block_keys]

  static DivergenceScratch carve(Carver& carver, const CpuProblem& p, const DivergencePlan& plan) {
    DivergenceScratch scratch{};
    scratch.block = ScoreBlock::carve(carver, p);
    scratch.rows = carver.take<QueryRow>(plan.parts * plan.part_slots());
    scratch.queries = carver.take<float>(plan.parts * plan.part_slots() * query_stride(p));
    scratch.weights = carver.take<float>(plan.strip_rows * plan.heads * block_keys);
    return scratch;
  }
};

/// Sums of the terms of all pairs over some strips of rows.
template <class Term>
class DivergenceTask {
 public:
  DivergenceTask(const CpuProblem& problem, const float* row_max, const float* log_sum,
                 const DivergenceRequest& request, const DivergencePlan& plan, const DivergenceScratch& scratch,
                 double* sums)
      : p_(problem),
        row_max_(row_max),
        log_sum_(log_sum),
        request_(request),
        plan_(plan),
        scratch_(scratch),
        sums_(sums) {}

  void run(int64_t first_strip, int64_t strips, const std::stop_token& stop) {
    std::fill_n(sums_, plan_.pairs, 0.0);
    for (int64_t strip = first_strip; strip < first_strip + strips && !stop.stop_requested(); ++strip) {
      begin_ = request_.row_begin + strip * plan_.strip_rows;
      count_ = std::min(plan_.strip_rows, request_.row_end - begin_);
      const KeyRange all = pack();
      for (int64_t first = round_down(all.begin, block_keys); first < all.end; first += block_keys) {
        for (int64_t part = 0; part < plan_.parts && !stop.stop_requested(); ++part) weigh(part, first);
        for (int64_t row = 0; row < count_ && !stop.stop_requested(); ++row) add_row(row, first);
      }
      if (p_.key_log_weight) add_empty_rows();  // elsewhere all heads see the same keys
    }
  }

 private:
  /// The scores of a part: slot = head * count_ + row.
  ScoreBlock part_block(int64_t part) const {
    ScoreBlock block = scratch_.block;
    block.rows = scratch_.rows + part * plan_.part_slots();
    block.queries = scratch_.queries + part * plan_.part_slots() * query_stride(p_);
    block.count = plan_.head_count(part) * count_;
    return block;
  }
  int64_t flat(int64_t head, int64_t row) const { return (request_.batch * p_.q_heads + head) * p_.q_len + row; }
  float* weights(int64_t row, int64_t head) const { return scratch_.weights + (row * plan_.heads + head) * block_keys; }

  KeyRange pack() const {
    KeyRange all;
    for (int64_t part = 0; part < plan_.parts; ++part) {
      const ScoreBlock block = part_block(part);
      for (int64_t slot = 0; slot < block.count; ++slot) {
        block.rows[slot] = query_row(p_, plan_.first_head(part) + slot / count_, begin_ + slot % count_);
        all.unite(block.rows[slot].keys);
      }
      pack_queries(p_, request_.batch, block.rows, block.count, block.queries);
    }
    return all;
  }

  /// Weights of a part's heads on the block of keys that starts at `first`.
  void weigh(int64_t part, int64_t first) const {
    ScoreBlock block = part_block(part);
    block.start(first);
    multiply_scores(p_, request_.batch, plan_.first_head(part) / plan_.group, block);
    for (int64_t slot = 0; slot < block.count; ++slot) {
      const KeyRange seen = block.columns(slot);
      if (seen.empty()) continue;
      const QueryRow& row = block.rows[slot];
      float* scores = block.row_scores(slot);
      finish_scores(ScoreTerms(p_, block, row), seen, seen, scores);
      weigh_row(row, seen, scores, weights(row.row - begin_, row.head));
    }
  }

  void weigh_row(const QueryRow& row, KeyRange seen, const float* scores, float* to) const {
    const F d;
    const int64_t begin = round_down(seen.begin, lanes), at = flat(row.head, row.row);
    if (row_max_[at] == minus_infinity) {
      std::fill(to + begin, to + round_up(seen.end, lanes), 0.0F);
      return;
    }
    const RowShift shift(row, row_max_[at], log_sum_[at]);
    for (int64_t c = begin; c < seen.end; c += lanes) {
      hn::Store(Term::weight(shift.below(hn::Load(d, scores + c))), d, to + c);
    }
  }

  /// All pairs of a row, on the vectors that hold keys it sees. All heads see the same range.
  void add_row(int64_t row, int64_t first) const {
    const KeyRange seen = visible_keys(p_, begin_ + row).within_block(first);
    if (seen.empty()) return;
    const int64_t begin = round_down(seen.begin, lanes), steps = (seen.end - begin + lanes - 1) / lanes;
    for (int64_t i = 0; i < plan_.heads; ++i) {
      const float* left = weights(row, i) + begin;
      double* sums = sums_ + plan_.pair_row(i);
      int64_t j = i;
      for (; j + 4 <= plan_.heads; j += 4) add_pairs<4>(left, weights(row, j) + begin, steps, sums + j - i);
      const int64_t rest = plan_.heads - j;
      if (rest == 3) add_pairs<3>(left, weights(row, j) + begin, steps, sums + j - i);
      if (rest == 2) add_pairs<2>(left, weights(row, j) + begin, steps, sums + j - i);
      if (rest == 1) add_pairs<1>(left, weights(row, j) + begin, steps, sums + j - i);
    }
  }

  /// Head `left` against kCount heads side by side.
  template <int kCount>
  static HWY_NOINLINE void add_pairs(const float* HWY_RESTRICT left, const float* HWY_RESTRICT right, int64_t steps,
                                     double* HWY_RESTRICT sums) {
    const F d;
    V s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
    for (int64_t step = 0; step < steps; ++step) {
      const V p = hn::Load(d, left + step * lanes);
      const float* q = right + step * lanes;
      s0 = Term::add(s0, p, hn::Load(d, q));
      if constexpr (kCount > 1) s1 = Term::add(s1, p, hn::Load(d, q + block_keys));
      if constexpr (kCount > 2) s2 = Term::add(s2, p, hn::Load(d, q + 2 * block_keys));
      if constexpr (kCount > 3) s3 = Term::add(s3, p, hn::Load(d, q + 3 * block_keys));
    }
    sums[0] += sum_in_double(s0);
    if constexpr (kCount > 1) sums[1] += sum_in_double(s1);
    if constexpr (kCount > 2) sums[2] += sum_in_double(s2);
    if constexpr (kCount > 3) sums[3] += sum_in_double(s3);
  }

  static HWY_INLINE double sum_in_double(V sum) {
    const hn::Half<F> half;
    const hn::RepartitionToWide<F> wide;
    const auto low = hn::PromoteTo(wide, hn::LowerHalf(half, sum));
    const auto high = hn::PromoteTo(wide, hn::UpperHalf(half, sum));
    return hn::GetLane(hn::SumOfLanes(wide, hn::Add(low, high)));
  }

  void add_empty_rows() const {
    for (int64_t row = begin_; row < begin_ + count_; ++row) {
      for (int64_t i = 0; i < plan_.heads; ++i) {
        for (int64_t j = i; j < plan_.heads; ++j) {
          const bool empty_i = row_max_[flat(i, row)] == minus_infinity,
                     empty_j = row_max_[flat(j, row)] == minus_infinity;
          if (empty_i != empty_j) sums_[plan_.pair_row(i) + j - i] += Term::one_empty;
        }
      }
    }
  }

  const CpuProblem& p_;
  const float* row_max_;
  const float* log_sum_;
  const DivergenceRequest& request_;
  const DivergencePlan& plan_;
  DivergenceScratch scratch_;
  double* sums_;                   ///< [pairs]
  int64_t begin_ = 0, count_ = 0;  ///< rows of the strip
};

}  // namespace headscope::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
