// One query row over caches so large that memory sets the pace: at least 1 GB a step, in two sets that take turns, each
// many times the second-level cache. And the same for one short sequence, where launches set it.
#include <algorithm>
#include <memory>
#include <optional>

#include <ATen/ATen.h>

#include "app/cli/bench/gpu_data.h"
#include "core/base/text.h"

namespace headscope::cli::bench {
namespace {

constexpr double bf16_tolerance = 1e-2;
constexpr int64_t heads = 32, dim = 128;

struct Scheme {
  const char* name;
  int64_t kv_heads;
  bool shared_kv = false;  ///< values alone are stored, and serve as keys when they are turned
};

/// Cosines and sines of every position, [dim / 2, keys], as caches that are turned when they are read need them.
struct Tables {
  Tables(int64_t keys, const Gpu& gpu) {
    const auto options = at::TensorOptions().device(gpu.place).dtype(at::kDouble);
    const at::Tensor speed = at::pow(1e4, at::arange(dim / 2, options) * (-2.0 / dim));
    const at::Tensor angles = speed.unsqueeze(1) * at::arange(keys, options).unsqueeze(0);
    cosines = angles.cos().to(at::kFloat);
    sines = angles.sin().to(at::kFloat);
  }
  KeyRotation rotation() const {
    return {cosines.const_data_ptr<float>(), sines.const_data_ptr<float>(), cosines.stride(0), dim / 2};
  }
  /// What is read as keys.
  at::Tensor turned(const at::Tensor& values) const {
    const auto half = values.to(at::kFloat).split(dim / 2, -1);
    const at::Tensor c = cosines.t(), s = sines.t();
    return at::cat({half[0] * c - half[1] * s, half[1] * c + half[0] * s}, -1).to(values.scalar_type());
  }
  at::Tensor cosines, sines;
};

/// One set of caches, and ours over it.
struct Step {
  Step(const Gpu& gpu, const Scheme& scheme, int64_t batch, int64_t keys, const Tables& tables)
      : data({scheme.name, heads, scheme.kv_heads, 1, keys, dim, dim}, batch, gpu),
        ours(gpu, problem(scheme, tables), false) {
    if (scheme.shared_kv) data.k = tables.turned(data.v);  // for the library, which reads it
    bytes = static_cast<int64_t>(data.v.nbytes()) * (scheme.shared_kv ? 1 : 2);
  }
  AttentionProblem problem(const Scheme& scheme, const Tables& tables) const {
    AttentionProblem p = data.problem();
    if (!scheme.shared_kv) return p;
    p.k = p.v;
    p.key_rotation = tables.rotation();
    return p;
  }
  /// Query heads of one KV head stand as its rows, so that the library reads it once for all of them.
  void attend(const LibraryKernel& kernel) {
    const at::Tensor rows = data.q.view({data.q.size(0), data.shape.kv_heads, -1, dim});
    theirs = kernel.attend(rows, data.k, data.v, false, data.scale());
  }
  Difference compare() const {
    return require_same("output", ours.out.flatten(), theirs.out.contiguous().flatten(), bf16_tolerance);
  }

  GpuData data;
  GpuForward ours;
  Attended theirs;
  int64_t bytes = 0;
};

/// Two sets of caches that take turns: a step is the mean of both.
struct Sets {
  Sets(const Gpu& of, const Scheme& scheme, int64_t batch, int64_t keys, int runs)
      : gpu(of), times(runs), tables(scheme.shared_kv ? keys : 1, of) {
    for (int i = 0; i < 2; ++i) steps.push_back(std::make_unique<Step>(gpu, scheme, batch, keys, tables));
    name = fmt::format("{}, batch {}, bf16", steps[0]->data.shape.text(), batch);
  }
  double ours() {
    double seconds = 0;
    for (const auto& one : steps) seconds += one->ours.run(times) / 2;
    return seconds;
  }
  double theirs() {
    double seconds = 0;
    for (const auto& one : steps) seconds += seconds_each(gpu, times, [&] { one->attend(gpu.flash); }) / 2;
    return seconds;
  }
  std::vector<Difference> compare() const { return {steps[0]->compare(), steps[1]->compare()}; }

  const Gpu& gpu;
  const int times;  ///< of each set in a row
  const Tables tables;
  std::vector<std::unique_ptr<Step>> steps;
  std::string name;
};

void decode(Bench& bench, const Gpu& gpu, const Scheme& scheme, int64_t batch, int64_t keys, bool large) {
  Sets sets(gpu, scheme, batch, keys, large || bench.setting().tiny ? 1 : 20);
  const std::string ours(gpu.kernel.name);
  if (const auto why = gpu.kernel.unsupported(sets.steps[0]->ours.problem)) {
    return bench.skip("one row", sets.name, ours, gpu.flash.name, *why);
  }
  const Floor floor = bench.floor({{"read", static_cast<double>(sets.steps[0]->bytes)}});
  const auto compare = [&] { return sets.compare(); };
  const char* note = scheme.shared_kv ? "theirs reads keys that were turned before" : "";
  Contest contest{
      sets.name,
      {{ours, [&] { return sets.ours(); }, ""}, {gpu.flash.name, [&] { return sets.theirs(); }, gpu.flash.operation}},
      {{large ? "one row" : "one row, latency", 0, 1, floor, compare, note}}};
  if (large) contest.pairings[0].target = Target{Target::Of::share, 0.8};
  std::optional<Sets> stored;
  if (large && scheme.shared_kv) {
    stored.emplace(gpu, Scheme{"MHA", heads}, batch, keys, 1);
    contest.sides.push_back({ours + ", MHA", [&] { return stored->ours(); }, ""});
    contest.pairings.push_back(
        {"one row", 0, 2, std::nullopt, compare, "theirs stores keys and values", {}, Target{Target::Of::ratio, 0.6}});
  }
  bench.hold(contest);
}

}  // namespace

void bench_gpu_decode(Bench& bench) {
  const Setting& setting = bench.setting();
  const Gpu& gpu = *setting.gpu;
  at::manual_seed(setting.seed);
  const int64_t keys = setting.length(65'536), pair = 2 * dim * 2;  // bytes of a key and a value
  for (const Scheme& scheme :
       {Scheme{"MHA", heads}, Scheme{"GQA-8", 8}, Scheme{"MQA", 1}, Scheme{"SharedKV", heads, true}}) {
    const int64_t stored = scheme.shared_kv ? pair / 2 : pair;
    const int64_t batch =
        setting.tiny ? 2 : std::max<int64_t>(2, (int64_t{1} << 30) / (keys * scheme.kv_heads * stored));
    decode(bench, gpu, scheme, batch, keys, true);
    decode(bench, gpu, scheme, 1, setting.length(4096), false);
  }
}

}  // namespace headscope::cli::bench
