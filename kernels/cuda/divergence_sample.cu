// Sums over sampled keys that the divergences of all head pairs are made of.
#include <algorithm>

#include "kernels/cuda/divergence_plan.cuh"
#include "kernels/divergence_estimate.h"

namespace headscope::cuda {
namespace {

constexpr int threads = SamplePlan::warps * warp_size;
constexpr int tile_keys = SamplePlan::tile_keys;
constexpr int pitch = tile_keys + 1;  ///< of weights in shared memory: rows lie in different banks

struct SampleParams {
  DivergenceInputs in;
  DivergenceReaders readers;
  SamplePlan plan;
  SampleMemory memory;
  int64_t first_step = 0, end_step = 0;  ///< of the launch
};

/// A warp's share of the shared memory.
struct WarpMemory {
  double* sums;    ///< [q_heads], of the terms with each head
  KnownRow* rows;  ///< [16]
  int64_t* keys;   ///< [16]
  float* weights;  ///< [16][pitch]

  HEADSCOPE_HOST_DEVICE static size_t bytes(int64_t heads) {
    const size_t weights = SamplePlan::warp_rows * pitch * sizeof(float);
    return static_cast<size_t>(heads) * sizeof(double) + SamplePlan::warp_rows * (sizeof(KnownRow) + sizeof(int64_t)) +
           weights;
  }
  HEADSCOPE_DEVICE static WarpMemory of(int warp, int64_t heads) {
    std::byte* base = shared_memory() + static_cast<size_t>(warp) * bytes(heads);
    WarpMemory memory{};
    memory.sums = reinterpret_cast<double*>(base);
    memory.rows = reinterpret_cast<KnownRow*>(memory.sums + heads);
    memory.keys = reinterpret_cast<int64_t*>(memory.rows + SamplePlan::warp_rows);
    memory.weights = reinterpret_cast<float*>(memory.keys + SamplePlan::warp_rows);
    return memory;
  }
};

/// One block: a run of one head's draws, 128 at a time, 16 to a warp. The four lanes of a row know the same of its
/// draw.
template <int kPlanes>
class SampleBlock {
 public:
  HEADSCOPE_DEVICE explicit SampleBlock(const SampleParams& p)
      : p_(p),
        problem_(p.in.problem),
        head_(block_index().y),
        memory_(WarpMemory::of(warp_index(), p.plan.heads)),
        g_(lane_index() / quad),
        t_(lane_index() % quad) {}

  HEADSCOPE_DEVICE void run() {
    const int64_t key_tiles = p_.plan.key_tiles;
    for (int64_t step = p_.first_step; step < p_.end_step;) {
      const int64_t search_begin = step / key_tiles * key_tiles, chunk = step / (2 * key_tiles);
      const bool is_second = search_begin % (2 * key_tiles) != 0;
      const KeyRange samples = samples_of(chunk);
      if (samples.empty()) return;
      if (step == p_.first_step || !is_second) draw(samples);
      if (step == p_.first_step && (is_second || step > search_begin)) take_up_draws();
      if (step == search_begin && is_second) search_again();
      const int64_t search_end = search_begin + key_tiles, end = search_end < p_.end_step ? search_end : p_.end_step;
      search(samples, step - search_begin, end - search_begin);
      if (is_second && end == search_end) add_terms(chunk);
      step = end;
    }
    if (p_.end_step % (2 * key_tiles) != 0) keep_draws();
  }

 private:
  HEADSCOPE_DEVICE KeyRange samples_of(int64_t chunk) const {
    const int64_t run_end = smaller((block_index().x + 1) * p_.plan.run, p_.plan.samples);
    const int64_t begin = block_index().x * p_.plan.run + chunk * SamplePlan::chunk;
    return {begin, smaller(begin + SamplePlan::chunk, run_end)};
  }

  HEADSCOPE_DEVICE void draw(const KeyRange& samples) {
    HEADSCOPE_UNROLL
    for (int r = 0; r < 2; ++r) {
      const int64_t sample = samples.begin + place_of(r);
      draws_[r] = {};
      KnownRow row;
      if (sample < samples.end) {
        const DivergenceDraw drawn = divergence_draw(p_.in.request, head_, sample);
        row = KnownRow::of(p_.in, head_, drawn.row);
        draws_[r].key = p_.in.empty(head_, drawn.row) ? Draw::own_key : Draw::pending;
        draws_[r].target = drawn.target;
      }
      if (t_ == 0) memory_.rows[g_ + 8 * r] = row;  // read behind the barriers of search and add_terms
    }
  }

  /// Of a lane's row in the chunk.
  HEADSCOPE_DEVICE int place_of(int r) const { return warp_index() * SamplePlan::warp_rows + g_ + 8 * r; }
  HEADSCOPE_DEVICE Draw* kept_draws() const {
    return p_.memory.draws + (head_ * p_.plan.runs + block_index().x) * SamplePlan::chunk;
  }
  HEADSCOPE_DEVICE void take_up_draws() {
    for (int r = 0; r < 2; ++r) draws_[r] = kept_draws()[place_of(r)];
  }
  HEADSCOPE_DEVICE void keep_draws() const {
    for (int r = 0; r < 2 && t_ == 0; ++r) kept_draws()[place_of(r)] = draws_[r];
  }

  /// A row whose weights add up to less than the target, by rounding, is searched again for the same share.
  HEADSCOPE_DEVICE void search_again() {
    for (Draw& draw : draws_) {
      draw.target *= draw.mass;
      draw.mass = 0;
    }
  }

  /// What the block's rows see, which lie in order.
  HEADSCOPE_DEVICE KeyRange keys_of(const KeyRange& samples) const {
    const KeyRange begin = visible_keys(problem_, divergence_draw(p_.in.request, head_, samples.begin).row);
    const KeyRange end = visible_keys(problem_, divergence_draw(p_.in.request, head_, samples.end - 1).row);
    return {begin.begin, begin.empty() || end.empty() ? problem_.kv_len : end.end};
  }

  HEADSCOPE_DEVICE const KnownRow& row(int r) const { return memory_.rows[g_ + 8 * r]; }

  HEADSCOPE_DEVICE bool wants(int r, int64_t first) const {
    const KeyRange keys = row(r).query.keys;
    return draws_[r].key == Draw::pending && keys.begin < first + tile_keys && first < keys.end;
  }

  /// Adds up the weights of the rows tile by tile, of tiles [begin, end) of the keys, until each has passed its target.
  /// The warps keep step, so that they find each other's keys in the cache.
  HEADSCOPE_DEVICE void search(const KeyRange& samples, int64_t begin, int64_t end) {
    const KeyRange keys = keys_of(samples);
    const int64_t keys_end = smaller(keys.end, end * tile_keys);
    int64_t first = keys.begin / tile_keys * tile_keys;
    if (first < begin * tile_keys) first = begin * tile_keys;
    for (; first < keys_end; first += tile_keys) {
      block_barrier();
      if (any_of_warp(wants(0, first) || wants(1, first))) search_tile(first);
    }
  }

  HEADSCOPE_DEVICE GlobalRow query_of(const KnownRow& row) const {
    return row.query.exists() ? query_numbers(p_.in, head_, row.query.row) : GlobalRow{};
  }

  HEADSCOPE_DEVICE void search_tile(int64_t first) {
    const GlobalRow queries[2] = {query_of(row(0)), query_of(row(1))};
    float weights[tile_keys / 8][4];
    multiply_rows<kPlanes>(p_.in, p_.readers, p_.in.kv_head(head_), queries, first, weights);
    double sums[2] = {0, 0};
    HEADSCOPE_UNROLL
    for (int n = 0; n < tile_keys / 8; ++n) {
      HEADSCOPE_UNROLL
      for (int i = 0; i < 4; ++i) {
        const int64_t key = first + 8 * n + 2 * t_ + i % 2;
        weights[n][i] = exp2_fast(row(i / 2).log2_weight(problem_, weights[n][i], key));
        sums[i / 2] += double{weights[n][i]};
      }
    }
    bool passes[2];
    HEADSCOPE_UNROLL
    for (int r = 0; r < 2; ++r) {
      sums[r] += shuffle_xor(sums[r], 1);
      sums[r] += shuffle_xor(sums[r], 2);
      passes[r] = draws_[r].key == Draw::pending && draws_[r].mass + sums[r] > draws_[r].target;
    }
    if (any_of_warp(passes[0] || passes[1])) find(first, weights, passes);
    HEADSCOPE_UNROLL
    for (int r = 0; r < 2; ++r) draws_[r].mass += sums[r];
  }

  HEADSCOPE_DEVICE void find(int64_t first, const float (&weights)[tile_keys / 8][4], const bool (&passes)[2]) {
    HEADSCOPE_UNROLL
    for (int n = 0; n < tile_keys / 8; ++n) {
      HEADSCOPE_UNROLL
      for (int i = 0; i < 4; ++i) {
        memory_.weights[(g_ + i / 2 * 8) * pitch + 8 * n + 2 * t_ + i % 2] = weights[n][i];
      }
    }
    warp_barrier();
    HEADSCOPE_UNROLL
    for (int r = 0; r < 2; ++r) {
      if (passes[r]) draws_[r].key = first + column_at(memory_.weights + (g_ + 8 * r) * pitch, draws_[r]);
    }
    warp_barrier();
  }

  /// The first column at which the mass exceeds the target; where the order of addition matters to that, the last
  /// that has weight.
  HEADSCOPE_DEVICE static int column_at(const float* weights, const Draw& draw) {
    double mass = draw.mass;
    int column = 0;
    for (int c = 0; c < tile_keys && !(mass > draw.target); ++c) {
      mass += double{weights[c]};
      if (weights[c] > 0) column = c;
    }
    return column;
  }

  /// Adds the terms of a chunk to the sums of the chunks before it.
  HEADSCOPE_DEVICE void add_terms(int64_t chunk) {
    double* const kept =
        p_.memory.sums + p_.plan.place(head_, warp_index() * p_.plan.heads) + block_index().x * p_.plan.run_size();
    for (int64_t other = lane_index(); other < p_.plan.heads; other += warp_size) {
      memory_.sums[other] = chunk == 0 ? 0 : kept[other];
    }
    if (t_ == 0) memory_.keys[g_] = draws_[0].key, memory_.keys[g_ + 8] = draws_[1].key;
    warp_barrier();
    for (int i = 0; i < SamplePlan::warp_rows; ++i) {
      const int64_t row = memory_.rows[i].query.row, key = memory_.keys[i];
      if (key == Draw::none) continue;
      const double own = key >= 0 ? weight(head_, row, key) : __builtin_nan("");
      // Eight other heads at a time, four lanes each.
      for (int64_t first = 0; first < p_.plan.heads; first += warp_size / quad) {
        const int64_t other = first + g_, head = other < p_.plan.heads ? other : head_;
        const double with = key >= 0 ? weight(head, row, key) : 0;
        if (t_ == 0 && other < p_.plan.heads) memory_.sums[other] += term(key, own, with, p_.in.empty(other, row));
      }
    }
    warp_barrier();
    for (int64_t other = lane_index(); other < p_.plan.heads; other += warp_size) kept[other] = memory_.sums[other];
    warp_barrier();
  }
  /// `own` is NaN where no key was found.
  HEADSCOPE_DEVICE static double term(int64_t key, double own, double other, bool other_empty) {
    if (key == Draw::own_key) return other_empty ? 0 : ln_2;
    return divergence_term(own, other);
  }

  /// One weight, by four lanes together; `key` is in the range that the row sees.
  HEADSCOPE_DEVICE double weight(int64_t head, int64_t row, int64_t key) const {
    const GlobalRow query = query_numbers(p_.in, head, row), numbers = key_numbers(p_.in, p_.in.kv_head(head), key);
    float dot = 0;
    for (int64_t dim = piece * t_; dim < p_.readers.keys.dims; dim += piece * quad) {
      float q[piece], k[piece];
      p_.readers.queries.read(q, query, 0, dim);
      p_.readers.keys.read(k, numbers, key, dim);
      HEADSCOPE_UNROLL
      for (int i = 0; i < piece; ++i) dot += q[i] * k[i];
    }
    dot += shuffle_xor(dot, 1);
    dot += shuffle_xor(dot, 2);
    const QueryRow at = query_row(problem_, head, row);
    const float log_weight = at.log_weight ? at.log_weight[key] : 0;
    if (p_.in.empty(head, row) || log_weight == minus_infinity()) return 0;
    double s = double{problem_.scale} * double{dot};
    if (problem_.soft_cap > 0) s = double{problem_.soft_cap} * tanh(s / double{problem_.soft_cap});
    s += double{at.slope} * static_cast<double>(key) + double{log_weight};
    return exp(s - double{p_.in.row_max[p_.in.at(head, row)]} - double{p_.in.log_sum[p_.in.at(head, row)]});
  }

  const SampleParams& p_;
  const AttentionProblem& problem_;
  const int64_t head_;
  const WarpMemory memory_;
  const int g_, t_;
  Draw draws_[2];
};

template <int kPlanes>
HEADSCOPE_KERNEL void HEADSCOPE_LAUNCH_BOUNDS(threads, kPlanes == 1 ? 2 : 1) sum_samples(SampleParams p) {
  SampleBlock<kPlanes>(p).run();
}

}  // namespace

SamplePlan SamplePlan::of(const AttentionProblem& p, const DivergenceRequest& request) {
  SamplePlan plan;
  plan.heads = p.q_heads;
  plan.samples = request.samples;
  const int64_t chunks = (plan.samples + chunk - 1) / chunk;
  plan.run = (chunks + most_runs - 1) / most_runs * chunk;
  plan.runs = (plan.samples + plan.run - 1) / plan.run;
  plan.key_tiles = std::max<int64_t>(1, (p.kv_len + tile_keys - 1) / tile_keys);
  const double rows = static_cast<double>(plan.heads * plan.runs * chunk),
               products = is_plain_bf16(p) ? 1 : plane_pairs<3>();
  plan.step_work = rows * tile_keys * static_cast<double>(padded_dim(p.key_dim)) * products * slow_reads;
  return plan;
}

bool start_sample_sums(const DivergenceInputs& in, const SamplePlan& plan, const SampleMemory& memory,
                       PacedLaunches& launches) {
  SampleParams params{in, DivergenceReaders::of(in.problem), plan, memory};
  const Grid grid{static_cast<unsigned>(plan.runs), static_cast<unsigned>(plan.heads)};
  const int64_t at_once = launches.at_once(plan.step_work, plan.steps());
  for (; params.first_step < plan.steps(); params.first_step = params.end_step) {
    params.end_step = std::min(params.first_step + at_once, plan.steps());
    if (!launches.start("divergence, sampled", is_plain_bf16(in.problem) ? sum_samples<1> : sum_samples<3>, grid,
                        threads, SamplePlan::warps * WarpMemory::bytes(plan.heads), params,
                        plan.step_work * static_cast<double>(params.end_step - params.first_step))) {
      return false;
    }
  }
  return true;
}

}  // namespace headscope::cuda
