#include <algorithm>
#include <cmath>

#include "app/cli/verify_checks.h"
#include "core/base/error.h"
#include "core/data/tiles.h"

namespace headscope::cli {
namespace {

/// Worst differences over all heads. Those from the reference are divided by the row's largest score where that is
/// above 1: sums in f32 are exact to a share of the score.
struct MapErrors {
  double own_sums = 0;    ///< of our kernel's weights, from 1
  double lse = 0;         ///< of the reference's weights with our log-sum-exp, from 1
  double weights = 0;     ///< ours from the reference's
  double statistics = 0;  ///< entropy and largest weight, from the reference's
};

/// `one_form`: the log-sum-exps come from the same sums as the weights, and not, as those of latents may, from keys
/// that were expanded.
void compare_row(const float* own, const float* exact, int64_t keys, const LayerRows& rows, int64_t row, int64_t head,
                 int64_t heads, bool one_form, MapErrors& errors) {
  double own_sum = 0, sum = 0, entropy = 0, largest = 0, difference = 0;
  for (int64_t key = 0; key < keys; ++key) {
    const double weight = double{exact[key]};
    own_sum += double{own[key]};
    sum += weight;
    if (weight > 0) entropy -= weight * std::log(weight);
    largest = std::max(largest, weight);
    raise(difference, std::abs(double{own[key]} - weight));
  }
  const double unit = std::max(1.0, std::abs(double{rows.row_max.row(row)[head]}));
  const auto statistic = [&](Statistic which) { return double{rows.statistic(which, row, head, heads)}; };
  raise(errors.own_sums, std::abs(own_sum - 1) / (one_form ? 1 : unit));
  raise(errors.lse, std::abs(sum - 1) / unit);
  raise(errors.weights, difference / unit);
  raise(errors.statistics, std::abs(statistic(Statistic::entropy) - entropy) / unit);
  raise(errors.statistics, std::abs(statistic(Statistic::max) - largest) / unit);
}

/// `here` is the run in the host's memory, where the reference is.
void compare_head(const RunSnapshot& run, const RunSnapshot& here, int64_t layer, int64_t head,
                  const ParallelFor& workers, MapErrors& errors) {
  const int64_t n = run.tokens();
  const TileQuery whole{layer, head, 0, n, 0, n};
  const Tile own = compute_tile(run, whole, workers);
  const Tile exact = compute_tile(here, whole, workers, {}, &attention_kernels().front());
  const LayerRows& rows = run.layers[static_cast<size_t>(layer)];
  const Layer& settings = run.architecture->layers[static_cast<size_t>(layer)];
  for (int64_t row = 0; row < n; ++row) {
    compare_row(own.cells.data() + row * n, exact.cells.data() + row * n, n, rows, row, head, settings.q_heads,
                !settings.mla, errors);
  }
}

}  // namespace

void check_maps(const RunSnapshot& run, const ParallelFor& workers, Findings& findings) {
  MapErrors errors;
  const RunSnapshot here = run.on_host();
  for (int64_t layer = 0; layer < run.architecture->layer_count(); ++layer) {
    const int64_t heads = run.architecture->layers[static_cast<size_t>(layer)].q_heads;
    for (int64_t head = 0; head < heads; ++head) compare_head(run, here, layer, head, workers, errors);
  }
  const auto add = [&](const char* name, double error, double allowed, const char* what) {
    findings.checks.push_back({name, error <= allowed, fmt::format("{} {:.1e}, allowed {:.0e}", what, error, allowed)});
  };
  add("attention rows sum to 1", errors.own_sums, 1e-5, "worst row is off by");
  add("log-sum-exp = reference", errors.lse, 1e-4,
      "with it, the reference's weights of the worst row sum to 1 but for");
  add("weights = reference", errors.weights, 1e-4, "worst weight of all heads differs by");
  add("statistics = reference", errors.statistics, 1e-4, "worst entropy or largest weight differs by");
  findings.proved.push_back("every head's weights, log-sum-exp and statistics are those of the double reference");
}

}  // namespace headscope::cli
