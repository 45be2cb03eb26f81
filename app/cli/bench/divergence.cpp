// How far apart the maps of all heads of a layer are: the exact Jensen-Shannon divergence of every pair, Hellinger's
// bracket around it, and an estimate from samples for a longer prompt.
#include <algorithm>
#include <numbers>

#include <ATen/ATen.h>

#include "app/cli/bench/attention_data.h"
#include "app/cli/bench/library_maps.h"
#include "core/base/text.h"
#include "core/model/torch_workers.h"
#include "kernels/divergence_estimate.h"

namespace headscope::cli::bench {
namespace {

using std::numbers::ln2;

constexpr double tolerance = 1e-4;
constexpr double sampled_tolerance = 1e-3;  ///< a draw at the border of two keys may fall to either: 1 / samples
constexpr int64_t first_row = 1;            ///< a row that sees one key is the same for all heads

DivergenceRequest request_of(DivergenceEstimator estimator, const Setting& setting, int64_t tokens) {
  DivergenceRequest request;
  request.row_begin = first_row;
  request.row_end = tokens;
  request.estimator = estimator;
  request.seed = setting.seed;
  request.confidence = 1 - 1e-6;  // that a right kernel is refused is not to be expected
  return request;
}

class KernelDivergence {
 public:
  KernelDivergence(const AttentionKernel& kernel, const AttentionData& data, const KernelForward& forward,
                   const DivergenceRequest& request)
      : value(at::empty({data.shape.q_heads, data.shape.q_heads})),
        lower(at::empty_like(value)),
        upper(at::empty_like(value)),
        kernel_(kernel),
        problem_(data.problem()),
        forward_(forward),
        request_(request),
        workspace_(kernel.divergence_workspace(problem_, request, TorchWorkers().workers())) {}

  double run(std::stop_token stop) {
    const DivergenceOutput output{value.data_ptr<float>(), lower.data_ptr<float>(), upper.data_ptr<float>()};
    return seconds_of([&] {
      kernel_.divergence(problem_, forward_.row_max.const_data_ptr<float>(), forward_.log_sum.const_data_ptr<float>(),
                         request_, output, workspace_.span(), TorchWorkers(), stop);
    });
  }

  at::Tensor value, lower, upper;  ///< [heads, heads]

 private:
  const AttentionKernel& kernel_;
  const AttentionProblem problem_;
  const KernelForward& forward_;
  const DivergenceRequest request_;
  Workspace workspace_;
};

// ---- the library's sides, each [heads, heads]

/// Calls `add` for all rows, in blocks of `rows`, with their weights to the power `power`: [heads, places].
template <class Add>
void for_blocks(const LibraryMaps& maps, int64_t rows, double power, const Add& add) {
  for (int64_t row = first_row; row < maps.tokens; row += rows) {
    add(maps.weights({0, maps.heads, row, std::min(rows, maps.tokens - row)}, power).flatten(1));
  }
}

/// From the entropies of the mixtures of all pairs.
at::Tensor exact_by_library(const LibraryMaps& maps) {
  constexpr int64_t rows = 32;  // the fastest that was found: all that a step makes is in the caches
  at::Tensor sums = at::zeros({maps.heads, maps.heads}, at::kDouble);
  for_blocks(maps, rows, 1, [&](at::Tensor weights) { add_mixtures(sums, weights.mul_(0.5)); });
  return divergences_of_mixtures(sums, maps.tokens - first_row);
}

/// The middle of the bracket.
at::Tensor hellinger_by_library(const LibraryMaps& maps) {
  constexpr int64_t rows = 64;
  at::Tensor affinity = at::zeros({maps.heads, maps.heads});
  for_blocks(maps, rows, 0.5, [&](const at::Tensor& roots) { affinity.addmm_(roots, roots.t()); });
  return hellinger_middle(affinity, maps.tokens - first_row);
}

/// With the same draws as ours, so that it gives the same numbers.
class SampledByLibrary {
 public:
  SampledByLibrary(const LibraryMaps& maps, const DivergenceRequest& request) : maps_(maps), samples_(request.samples) {
    for (int64_t head = 0; head < maps.heads; ++head) {
      rows_.push_back(at::empty({samples_}, at::kLong));
      targets_.push_back(at::empty({samples_}));
      for (int64_t i = 0; i < samples_; ++i) {
        const DivergenceDraw draw = divergence_draw(request, head, i);
        rows_.back().data_ptr<int64_t>()[i] = draw.row;
        targets_.back().data_ptr<float>()[i] = static_cast<float>(draw.target);
      }
    }
    keys_ = at::empty({maps.heads, samples_}, at::kLong);
  }

  at::Tensor compute() {
    at::Tensor sums = at::zeros({maps_.heads, maps_.heads}, at::kDouble);
    for (int64_t head = 0; head < maps_.heads; ++head) {
      draw(head);
      sums[head].copy_(terms(head).sum(1, false, at::kDouble));
    }
    return ((sums + sums.t()) / (2 * samples_)).to(at::kFloat);
  }

  /// Keys up to those that the last run drew, of all draws.
  double keys_passed() const { return keys_.sum().item<double>() + static_cast<double>(keys_.numel()); }

 private:
  /// The keys at which the weights of the drawn rows pass their targets, in blocks of rows, which ascend.
  void draw(int64_t head) {
    constexpr int64_t block = 64;
    for (int64_t first = 0; first < samples_; first += block) {
      const int64_t count = std::min(block, samples_ - first);
      const at::Tensor rows = rows_[static_cast<size_t>(head)].narrow(0, first, count);
      const int64_t least = rows[0].item<int64_t>(), end = rows[count - 1].item<int64_t>() + 1;
      const at::Tensor keys = maps_.k[head].narrow(0, 0, end).t();
      at::Tensor mass = at::addmm(maps_.minus_lse[head].index_select(0, rows), maps_.q[head].index_select(0, rows),
                                  keys, 1, maps_.scale)
                            .exp_();
      mass.narrow(1, least, end - least).masked_fill_(at::arange(least, end) > rows.unsqueeze(1), 0);
      mass.cumsum_(1);
      const at::Tensor target = targets_[static_cast<size_t>(head)].narrow(0, first, count).unsqueeze(1);
      const at::Tensor total = mass.narrow(1, end - 1, 1);
      const at::Tensor reached = at::where(total > target, target, target * total);
      keys_[head].narrow(0, first, count).copy_(at::searchsorted(mass, reached, false, true).squeeze(1));
    }
  }

  /// ln 2 - h(p / (p + q)) of every head's weights q at the keys that `head` drew: [heads, samples].
  at::Tensor terms(int64_t head) const {
    const at::Tensor& rows = rows_[static_cast<size_t>(head)];
    const at::Tensor scores = (maps_.q.index_select(1, rows) * maps_.k.index_select(1, keys_[head])).sum(2);
    const at::Tensor q = (scores * maps_.scale + maps_.minus_lse.squeeze(2).index_select(1, rows)).exp_(), p = q[head];
    const at::Tensor share = p / (p + q), rest = q / (p + q);
    return at::xlogy(share, share) + at::xlogy(rest, rest) + ln2;
  }

  const LibraryMaps& maps_;
  const int64_t samples_;
  std::vector<at::Tensor> rows_, targets_;  ///< [heads] of [samples]
  at::Tensor keys_;                         ///< [heads, samples]
};

// ---- what is compared, and the least time

Difference require_same(const KernelDivergence& ours, const at::Tensor& theirs, double allowed) {
  return require_equal("divergences", numbers(ours.value), numbers(theirs.contiguous()), allowed);
}

/// Throws Error unless every exact divergence lies within the bounds of the sampled one.
Difference require_within_bounds(const KernelDivergence& sampled, const KernelDivergence& exact) {
  const at::Tensor inside = (sampled.lower <= exact.value).logical_and_(exact.value <= sampled.upper);
  if (!inside.all().item<bool>()) fail("the exact divergence of some heads lies outside the bounds of the sampled one");
  const double width = (sampled.upper - sampled.lower).max().item<double>(), scale = exact.value.max().item<double>();
  return require_equal("sampled beside exact", numbers(sampled.value), numbers(exact.value), width / scale);
}

/// Counts of the least that an operation needs, from data with `places` (row, key) that are seen, of all heads.
struct Counts {
  explicit Counts(const AttentionShape& shape)
      : places(shape.places()),
        heads(static_cast<double>(shape.q_heads)),
        pairs(heads * (heads - 1) / 2),
        product(2 * static_cast<double>(shape.key_dim)) {}

  /// A product and an exponential for each place, and for each pair one logarithm for each place of one head: the
  /// entropy of a mixture. The heads' own entropies follow from scores and log-sum-exps.
  Floor exact(const Bench& bench) const {
    return bench.floor({{"fma", places * product}, {"exp", places}, {"log", pairs * places / heads}});
  }
  /// For each pair one multiply-add instead of the logarithm.
  Floor hellinger(const Bench& bench) const {
    return bench.floor({{"fma", places * product + 2 * pairs * places / heads}, {"exp", places}});
  }
  /// Weights up to the keys that are drawn; for each draw and each other head a weight, and one logarithm: those of
  /// the weights themselves are known.
  Floor sampled(const Bench& bench, double keys_passed, int64_t samples) const {
    const double terms = heads * (heads - 1) * static_cast<double>(samples), weights = keys_passed + terms;
    return bench.floor({{"fma", weights * product}, {"exp", weights}, {"log", terms}});
  }

  double places, heads, pairs, product;
};

/// A kernel's divergences of some data, each estimator with what it needs.
struct Ours {
  Ours(const AttentionKernel& kernel, const AttentionData& data, const Setting& setting)
      : forward(kernel, data, false),
        exact(kernel, data, forward, request_of(DivergenceEstimator::exact, setting, data.shape.q_len)),
        hellinger(kernel, data, forward, request_of(DivergenceEstimator::hellinger, setting, data.shape.q_len)),
        sampled(kernel, data, forward, request_of(DivergenceEstimator::sampled, setting, data.shape.q_len)) {
    forward.run();
  }

  KernelForward forward;
  KernelDivergence exact, hellinger, sampled;
};

void whole_rows(Bench& bench, const AttentionKernel& kernel, const AttentionData& data, const LibraryMaps& maps) {
  const Progress& progress = bench.setting().progress;
  Ours ours(kernel, data, bench.setting());
  at::Tensor exact, hellinger;
  const Counts counts(data.shape);
  const std::string name(kernel.name);
  bench.hold({data.shape.text(),
              {{name, [&] { return ours.exact.run(progress.stop); }, ""},
               {"baddbmm, exp, log", [&] { return seconds_of([&] { exact = exact_by_library(maps); }); }, "aten::log_"},
               {name, [&] { return ours.hellinger.run(progress.stop); }, ""},
               {"baddbmm, exp, addmm", [&] { return seconds_of([&] { hellinger = hellinger_by_library(maps); }); },
                "aten::addmm_"}},
              {{"exact Jensen-Shannon", 0, 1, counts.exact(bench),
                [&] {
                  progress.check();  // what was stopped is half filled
                  return std::vector{require_same(ours.exact, exact, tolerance)};
                }},
               {"Hellinger's bracket", 2, 3, counts.hellinger(bench), [&] {
                  progress.check();
                  return std::vector{require_same(ours.hellinger, hellinger, tolerance)};
                }}}});
}

void samples(Bench& bench, const AttentionKernel& kernel, const AttentionData& data, const LibraryMaps& maps) {
  const Progress& progress = bench.setting().progress;
  Ours ours(kernel, data, bench.setting());
  const DivergenceRequest request = request_of(DivergenceEstimator::sampled, bench.setting(), data.shape.q_len);
  SampledByLibrary theirs(maps, request);
  at::Tensor sampled = theirs.compute();
  const Counts counts(data.shape);
  const std::string name(kernel.name);
  bench.hold({data.shape.text(),
              {{name, [&] { return ours.sampled.run(progress.stop); }, ""},
               {"addmm, exp, cumsum, searchsorted", [&] { return seconds_of([&] { sampled = theirs.compute(); }); },
                "aten::searchsorted"},
               {name, [&] { return ours.exact.run(progress.stop); }, ""}},
              {{fmt::format("sampled, {} draws a head", format_count(static_cast<uint64_t>(request.samples))), 0, 1,
                counts.sampled(bench, theirs.keys_passed(), request.samples),
                [&] {
                  progress.check();
                  return std::vector{require_same(ours.sampled, sampled, sampled_tolerance),
                                     require_within_bounds(ours.sampled, ours.exact)};
                },
                "theirs is given the draws"},
               {"exact Jensen-Shannon", 2, std::nullopt, counts.exact(bench), {}}}});
}

}  // namespace

void bench_divergence(Bench& bench) {
  const Setting& setting = bench.setting();
  at::Generator random = seeded_generator(setting.seed);
  for (const bool longer : {false, true}) {
    const int64_t tokens = setting.length(longer ? 4096 : 1024);
    const AttentionData data({"GPT-2", 12, 12, tokens, tokens, 64, 64}, random);
    const LibraryMaps maps(data);
    for (const AttentionKernel& kernel : setting.kernels) {
      longer ? samples(bench, kernel, data, maps) : whole_rows(bench, kernel, data, maps);
    }
  }
}

}  // namespace headscope::cli::bench
