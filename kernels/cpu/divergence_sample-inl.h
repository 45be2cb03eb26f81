// Sums over sampled keys that the divergences of all head pairs are made of, compiled once per vector target.
#if defined(HEADSCOPE_DIVERGENCE_SAMPLE_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_DIVERGENCE_SAMPLE_INL
#undef HEADSCOPE_DIVERGENCE_SAMPLE_INL
#else
#define HEADSCOPE_DIVERGENCE_SAMPLE_INL
#endif

#include <cmath>
#include <numbers>
#include <stop_token>

#include "kernels/cpu/row_shift-inl.h"
#include "kernels/cpu/scores-inl.h"
#include "kernels/cpu/weight_error-inl.h"
#include "kernels/divergence_estimate.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::cpu::HWY_NAMESPACE {

/// A task draws a run of one head's samples. Nothing here depends on the number of workers.
struct SamplePlan {
  int64_t heads, samples, run, runs;

  SamplePlan(const CpuProblem& p, const DivergenceRequest& request)
      : heads(p.q_heads),
        samples(request.samples),
        run(std::max(chunk_rows, (samples + most_runs - 1) / most_runs)),
        runs((samples + run - 1) / run) {}

  int64_t tasks() const { return heads * runs; }

 private:
  static constexpr int64_t most_runs = 64;  ///< each has sums of its own
};

/// Memory of one worker.
struct SampleScratch {
  ScoreBlock block;
  double* targets;  ///< [chunk_rows]
  double* masses;   ///< [chunk_rows], weight of the keys seen so far
  int64_t* keys;    ///< [chunk_rows], what was drawn
  float* key;       ///< [key_dim]

  static SampleScratch carve(Carver& carver, const CpuProblem& p) {
    return {ScoreBlock::carve(carver, p), carver.take<double>(chunk_rows), carver.take<double>(chunk_rows),
            carver.take<int64_t>(chunk_rows), carver.take<float>(p.key_dim)};
  }
};

/// Draws keys of one head and sums the terms they give with each other head.
class SampleTask {
 public:
  SampleTask(const CpuProblem& problem, const float* row_max, const float* log_sum, const DivergenceRequest& request,
             const SampleScratch& scratch, double* sums)
      : p_(problem), row_max_(row_max), log_sum_(log_sum), request_(request), scratch_(scratch), sums_(sums) {}

  void run(int64_t head, int64_t first, int64_t end, const std::stop_token& stop) {
    std::fill_n(sums_, p_.q_heads, 0.0);
    for (; first < end && !stop.stop_requested(); first += chunk_rows) {
      start(head, first, std::min(chunk_rows, end - first));
      search(stop);
      // A row whose weights add up to less than the target, by rounding, is searched again for the same share.
      for (int64_t slot = 0; slot < block().count; ++slot) {
        if (scratch_.keys[slot] != pending) continue;
        scratch_.targets[slot] *= scratch_.masses[slot];
        scratch_.masses[slot] = 0;
      }
      search(stop);
      for (int64_t slot = 0; slot < block().count && !stop.stop_requested(); ++slot) add_terms(slot);
    }
  }

 private:
  static constexpr int64_t pending = -1;
  static constexpr int64_t own_key = -2;  ///< where an empty row has its weight

  ScoreBlock& block() { return scratch_.block; }
  int64_t flat(int64_t head, int64_t row) const { return (request_.batch * p_.q_heads + head) * p_.q_len + row; }
  int64_t kv_head(int64_t head) const { return head / (p_.q_heads / p_.kv_heads); }
  bool empty(int64_t head, int64_t row) const { return row_max_[flat(head, row)] == minus_infinity; }

  void start(int64_t head, int64_t first, int64_t count) {
    block().count = count;
    for (int64_t slot = 0; slot < count; ++slot) {
      const DivergenceDraw draw = divergence_draw(request_, head, first + slot);
      block().rows[slot] = query_row(p_, head, draw.row);
      scratch_.targets[slot] = draw.target;
      scratch_.masses[slot] = 0;
      scratch_.keys[slot] = empty(head, draw.row) ? own_key : pending;
    }
    pack_queries(p_, request_.batch, block().rows, count, block().queries);
  }

  /// Adds up the weights of the rows block by block until each has passed its target.
  void search(const std::stop_token& stop) {
    KeyRange all;
    for (int64_t slot = 0; slot < block().count; ++slot) {
      if (scratch_.keys[slot] == pending) all.unite(block().rows[slot].keys);
    }
    if (all.empty()) return;
    for (int64_t first = round_down(all.begin, block_keys); first < all.end; first += block_keys) {
      if (stop.stop_requested()) return;
      block().start(first);
      multiply_scores(p_, request_.batch, kv_head(block().rows[0].head), block());
      for (int64_t slot = 0; slot < block().count; ++slot) {
        if (scratch_.keys[slot] == pending) search_block(slot);
      }
    }
  }

  void search_block(int64_t slot) {
    const F d;
    const KeyRange seen = block().columns(slot);
    if (seen.empty()) return;
    const QueryRow& row = block().rows[slot];
    float* weights = block().row_scores(slot);
    finish_scores(ScoreTerms(p_, block(), row), seen, seen, weights);
    const RowShift shift(row, row_max_[flat(row.head, row.row)], log_sum_[flat(row.head, row.row)]);
    for (int64_t c = round_down(seen.begin, lanes); c < seen.end; c += lanes) {
      hn::Store(exp_rising(shift.below(hn::Load(d, weights + c))), d, weights + c);
    }
    double& mass = scratch_.masses[slot];
    const double added = sum_range(weights, seen.begin, seen.end);
    if (mass + added > scratch_.targets[slot]) {
      scratch_.keys[slot] = block().first + column_at(weights, seen, mass, scratch_.targets[slot]);
    } else {
      mass += added;
    }
  }

  /// The first column at which the mass exceeds the target; where the order of addition matters to that, the last
  /// that has weight.
  static int64_t column_at(const float* weights, KeyRange seen, double mass, double target) {
    int64_t column = seen.begin;
    for (int64_t c = seen.begin; c < seen.end && !(mass > target); ++c) {
      mass += double{weights[c]};
      if (weights[c] > 0) column = c;
    }
    return column;
  }

  void add_terms(int64_t slot) {
    const QueryRow& row = block().rows[slot];
    const int64_t key = scratch_.keys[slot];
    const double own = key >= 0 ? weight(row.head, row.row, key) : std::nan("");
    for (int64_t other = 0; other < p_.q_heads; ++other) {
      if (key == own_key) {
        sums_[other] += empty(other, row.row) ? 0 : std::numbers::ln2;
      } else {
        sums_[other] += divergence_term(own, weight(other, row.row, key));
      }
    }
  }

  /// One weight; `key` is in the range that the row sees.
  double weight(int64_t head, int64_t row, int64_t key) const {
    const QueryRow query = query_row(p_, head, row);
    if (key == pending || empty(head, row) || !query.sees(key)) return 0;
    const float* k = read_key(p_, request_.batch, kv_head(head), key, scratch_.key);
    double s = double{p_.scale} * double{dot(k, p_.q, {request_.batch, head, row}, p_.key_dim)};
    if (p_.soft_cap > 0) s = double{p_.soft_cap} * std::tanh(s / double{p_.soft_cap});
    s += double{query.slope} * static_cast<double>(key);
    if (query.log_weight) s += double{query.log_weight[key]};
    return std::exp(s - double{row_max_[flat(head, row)]} - double{log_sum_[flat(head, row)]});
  }

  const CpuProblem& p_;
  const float* row_max_;
  const float* log_sum_;
  const DivergenceRequest& request_;
  SampleScratch scratch_;
  double* sums_;  ///< [q_heads]
};

}  // namespace headscope::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
