// The forward of a prompt: output and log-sum-exp alone, and with row statistics and thumbnails in the same pass.
#include <memory>

#include <ATen/ATen.h>

#include "app/cli/bench/attention_data.h"
#include "app/cli/bench/exact_maxima.h"
#include "app/cli/bench/library_attention.h"

namespace headscope::cli::bench {
namespace {

constexpr double tolerance = 1e-4;       ///< the library's exp is exact to 20 ulp
constexpr double bf16_tolerance = 1e-2;  ///< both round weights to bf16, the library results as well

struct Case {
  AttentionShape shape;
  bool quick;  ///< also with --quick
};

const Case cases[] = {
    {{"GPT-2", 12, 12, 1024, 1024, 64, 64}, true},   {{"GPT-2", 12, 12, 2048, 2048, 64, 64}, true},
    {{"GPT-2", 12, 12, 4096, 4096, 64, 64}, false},  {{"GQA-8", 32, 8, 1024, 1024, 128, 128}, true},
    {{"GQA-8", 32, 8, 4096, 4096, 128, 128}, false}, {{"MLA-like", 8, 8, 1024, 1024, 192, 128}, true},
};

std::vector<Difference> compare_forward(const KernelForward& ours, const LibraryForward& theirs,
                                        double out_tolerance = tolerance) {
  return {require_equal("output", numbers(ours.out), numbers(theirs.out()), out_tolerance),
          require_equal("log-sum-exp", numbers((ours.row_max + ours.log_sum).contiguous()), numbers(theirs.lse()),
                        tolerance)};
}

/// Everything, what the library has no maxima for included.
std::vector<Difference> compare_statistics(const KernelForward& ours, const LibraryStatistics& theirs,
                                           const AttentionData& data, double out_tolerance = tolerance) {
  std::vector<Difference> out = compare_forward(ours, theirs, out_tolerance);
  const auto add = [&](const char* what, const at::Tensor& a, const at::Tensor& b) {
    out.push_back(require_equal(what, numbers(a), numbers(b.contiguous()), tolerance));
  };
  add("entropy", ours.entropy, theirs.entropy);
  add("distance", ours.distance, theirs.distance);
  add("variance of distance", ours.variance, theirs.variance);
  add("sink mass", ours.sink, theirs.sink);
  add("window mass", ours.window, theirs.window);
  add("means of cells", ours.mean_thumbnails(), theirs.thumbnails);
  const ExactMaxima exact(data, ours.argmax);
  add("largest weight", ours.max, exact.max);
  add("weight of the likeliest key", ours.max, exact.at_argmax);
  add("maxima of cells", ours.thumbnails, exact.thumbnails);
  return out;
}

void forward(Bench& bench, const AttentionKernel& kernel, const AttentionData& data) {
  KernelForward plain(kernel, data, false), everything(kernel, data, true);
  LibraryForward flash(data);
  LibraryStatistics composed(data);
  const std::string name(kernel.name);
  const Floor floor = bench.floor({{"fma", data.shape.operations()}});
  bench.hold({data.shape.text(),
              {{name, [&] { return plain.run(); }, ""},
               {name, [&] { return everything.run(); }, ""},
               {"flash SDPA", [&] { return flash.run(); }, flash_operation},
               {"SDPA composition", [&] { return composed.run(); }, flash_operation}},
              {{"output and LSE", 0, 2, floor, [&] { return compare_forward(plain, flash); }},
               {"with statistics", 1, 2, floor, [&] { return compare_forward(everything, flash); },
                "theirs computes no statistics"},
               {"with statistics", 1, 3, floor, [&] { return compare_statistics(everything, composed, data); },
                "theirs has no maxima: no largest weights, no keys of these, no max-pooled thumbnails; ours were "
                "compared with a softmax in float64"}}});
}

void bf16_forward(Bench& bench, const AttentionKernel& kernel, const AttentionData& data) {
  KernelForward everything(kernel, data, true);
  LibraryForward flash(data);
  const auto compare = [&] {
    std::vector<Difference> out = compare_forward(everything, flash, bf16_tolerance);
    const AttentionData widened = data.in_f32();
    LibraryStatistics composed(widened);
    composed.run();
    for (Difference& one : compare_statistics(everything, composed, widened, bf16_tolerance)) {
      out.push_back(std::move(one));
    }
    return out;
  };
  bench.hold({data.shape.text(),
              {{std::string(kernel.name), [&] { return everything.run(); }, ""},
               {"flash SDPA of bf16", [&] { return flash.run(); }, flash_operation}},
              {{"with statistics, bf16", 0, 1, std::nullopt, compare,
                "theirs computes no statistics; ours were compared with those of f32 compositions"}}});
}

}  // namespace

void bench_attention(Bench& bench) {
  const Setting& setting = bench.setting();
  at::Generator random = seeded_generator(setting.seed);
  for (const Case& one : cases) {
    if ((setting.quick || setting.tiny) && !one.quick) continue;
    AttentionShape shape = one.shape;
    shape.q_len = shape.kv_len = setting.length(shape.kv_len);
    const AttentionData data(shape, random);
    for (const AttentionKernel& kernel : setting.kernels) forward(bench, kernel, data);
    const AttentionData rounded = data.in_bf16();
    for (const AttentionKernel& kernel : bf16_kernels(setting, rounded)) bf16_forward(bench, kernel, rounded);
  }
}

}  // namespace headscope::cli::bench
