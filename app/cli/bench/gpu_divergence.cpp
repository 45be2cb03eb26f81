// How far apart the maps of all heads of a layer are: the exact Jensen-Shannon divergence of every pair, and
// Hellinger's bracket around it.
#include <algorithm>

#include <ATen/ATen.h>

#include "app/cli/bench/gpu_maps.h"
#include "app/cli/bench/library_maps.h"

namespace headscope::cli::bench {
namespace {

constexpr double tolerance = 1e-3;
constexpr int64_t first_row = 1;  ///< a row that sees one key is the same for all heads
constexpr int64_t block = 256;    ///< rows of the library's steps

class OurDivergence {
 public:
  OurDivergence(const Gpu& gpu, const GpuForward& forward, DivergenceEstimator estimator)
      : value(at::empty({forward.problem.q_heads, forward.problem.q_heads}, forward.row_max.options())),
        lower(at::empty_like(value)),
        upper(at::empty_like(value)),
        gpu_(gpu),
        forward_(forward) {
    request_.row_begin = first_row;
    request_.row_end = forward.problem.q_len;
    request_.estimator = estimator;
    workspace_.emplace(gpu.kernel.divergence_workspace(forward.problem, request_, 1), *gpu.device);
  }

  double run(std::stop_token stop) {
    const DivergenceOutput output{value.data_ptr<float>(), lower.data_ptr<float>(), upper.data_ptr<float>()};
    return gpu_.seconds([&] {
      gpu_.kernel.divergence(forward_.problem, forward_.row_max.const_data_ptr<float>(),
                             forward_.log_sum.const_data_ptr<float>(), request_, output, workspace_->span(),
                             SerialFor(), stop);
    });
  }

  at::Tensor value, lower, upper;  ///< [heads, heads]

 private:
  const Gpu& gpu_;
  const GpuForward& forward_;
  DivergenceRequest request_;
  std::optional<Workspace> workspace_;
};

template <class Add>
void for_blocks(const GpuMaps& maps, double power, const Add& add) {
  for (int64_t row = first_row; row < maps.tokens; row += block) {
    add(maps.weights(row, std::min(block, maps.tokens - row), power).flatten(1));
  }
}

/// From the entropies of the mixtures of all pairs.
at::Tensor exact_by_library(const GpuMaps& maps) {
  at::Tensor sums;
  for_blocks(maps, 1, [&](at::Tensor weights) {
    if (!sums.defined()) sums = at::zeros({maps.heads, maps.heads}, weights.options().dtype(at::kDouble));
    add_mixtures(sums, weights.mul_(0.5));
  });
  return divergences_of_mixtures(sums, maps.tokens - first_row);
}

/// The middle of the bracket.
at::Tensor hellinger_by_library(const GpuMaps& maps) {
  at::Tensor affinity;
  for_blocks(maps, 0.5, [&](const at::Tensor& roots) {
    if (!affinity.defined()) affinity = at::zeros({maps.heads, maps.heads}, roots.options());
    affinity.addmm_(roots, roots.t());
  });
  return hellinger_middle(affinity, maps.tokens - first_row);
}

/// Pairs of different heads: of a head with itself rounding leaves the library something.
std::vector<Difference> compare(const OurDivergence& ours, const at::Tensor& theirs) {
  const at::Tensor pairs = at::ones_like(theirs).triu(1).to(at::kBool);
  if (!at::logical_and(ours.lower <= ours.value, ours.value <= ours.upper).all().item<bool>()) {
    fail("some divergences lie outside their bounds");
  }
  return {require_same("divergences", ours.value.masked_select(pairs), theirs.masked_select(pairs), tolerance)};
}

}  // namespace

void bench_gpu_divergence(Bench& bench) {
  const Setting& setting = bench.setting();
  const Gpu& gpu = *setting.gpu;
  at::manual_seed(setting.seed);
  const int64_t tokens = setting.length(4096), heads = setting.tiny ? 4 : 32;
  const GpuData data({"MHA", heads, heads, tokens, tokens, 128, 128}, 1, gpu);
  GpuForward forward(gpu, data.problem(), false);
  forward.run();
  const GpuMaps maps(data, forward.row_max + forward.log_sum, at::kFloat);
  OurDivergence exact(gpu, forward, DivergenceEstimator::exact),
      hellinger(gpu, forward, DivergenceEstimator::hellinger);
  at::Tensor their_exact, their_hellinger;
  const std::stop_token stop = setting.progress.stop;
  const auto compared = [&](const OurDivergence& ours, const at::Tensor& theirs) {
    setting.progress.check();  // what was stopped is half filled
    return compare(ours, theirs);
  };
  const std::string name(gpu.kernel.name);
  const Floor floor = bench.floor({{"mma", data.shape.places() * 2 * static_cast<double>(data.shape.key_dim)}});
  bench.hold(
      {data.shape.text() + ", bf16",
       {{name, [&] { return exact.run(stop); }, ""},
        {"bmm, exp, log", [&] { return gpu.seconds([&] { their_exact = exact_by_library(maps); }); }, "aten::log_"},
        {name, [&] { return hellinger.run(stop); }, ""},
        {"bmm, exp, addmm", [&] { return gpu.seconds([&] { their_hellinger = hellinger_by_library(maps); }); },
         "aten::addmm_"}},
       {{"exact Jensen-Shannon",
         0,
         1,
         floor,
         [&] { return compared(exact, their_exact); },
         "",
         {},
         Target{Target::Of::seconds, 2e-3}},
        {"Hellinger's bracket",
         2,
         3,
         floor,
         [&] { return compared(hellinger, their_hellinger); },
         "",
         {},
         Target{Target::Of::seconds, 0.9e-3}}}});
}

}  // namespace headscope::cli::bench
