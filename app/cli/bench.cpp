#include <algorithm>
#include <filesystem>
#include <memory>

#include <c10/core/InferenceMode.h>
#include <fmt/ranges.h>

#include "app/cli/bench/bench.h"
#include "app/cli/bench/gpu.h"
#include "app/cli/bench/report.h"
#include "app/cli/bench/serve.h"
#include "app/cli/command.h"
#include "app/cli/model_access.h"
#include "app/cli/terminal.h"
#include "core/base/atomic_file.h"
#include "core/model/torch_errors.h"

namespace headscope::cli {
namespace {

struct Options {
  bool quick = false, tiny = false;
  std::string only, kernel, out, serve;
  int64_t repeats = 0;
};

/// A whole model decodes a token in each, and has room for so many.
constexpr int most_repeats = 100;

/// What --only may name.
std::vector<std::string_view> family_names(bool of_gpu) {
  std::vector<std::string_view> names = {"limits"};
  for (const bench::Family& family : bench::families(of_gpu)) names.push_back(family.name);
  return names;
}

std::vector<bench::Family> chosen_families(const std::string& only, bool of_gpu) {
  const std::span<const bench::Family> all = bench::families(of_gpu);
  if (only.empty()) return {all.begin(), all.end()};
  const std::vector<std::string_view> names = family_names(of_gpu);
  const std::vector<std::string> wanted = split_list(only, "--only");
  for (const std::string& name : wanted) {
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    throw UsageError(fmt::format("--only {}: there is {}", quoted(name), fmt::join(names, ", ")));
  }
  std::vector<bench::Family> out;
  for (const bench::Family& family : all) {
    if (std::find(wanted.begin(), wanted.end(), family.name) != wanted.end()) out.push_back(family);
  }
  return out;
}

/// Those that take f32, which all queries, keys and values of `bench` are; the fastest last.
std::vector<AttentionKernel> f32_kernels() {
  std::vector<AttentionKernel> out;
  for (const AttentionKernel& one : attention_kernels()) {
    if (!one.unsupported(AttentionProblem())) out.push_back(one);
  }
  return out;
}

/// The fastest of this machine unless some are named.
std::vector<AttentionKernel> chosen_kernels(const std::string& names) {
  const std::vector<AttentionKernel> all = f32_kernels();
  if (names.empty()) return {all.back()};
  std::vector<AttentionKernel> out;
  for (const std::string& name : split_list(names, "--kernel")) {
    const auto found = std::find_if(all.begin(), all.end(), [&](const auto& one) { return one.name == name; });
    if (found == all.end()) {
      std::vector<std::string_view> there;
      for (const AttentionKernel& one : all) there.push_back(one.name);
      throw UsageError(fmt::format("--kernel {}: for f32 this machine has {}", quoted(name), fmt::join(there, ", ")));
    }
    out.push_back(*found);
  }
  return out;
}

bench::Setting setting_of(const Options& options, const Context& context) {
  if (options.repeats < 0 || options.repeats > most_repeats) {
    throw UsageError(
        fmt::format("--repeats is 1 to {}, or 0 for as many as each operation usually takes", most_repeats));
  }
  if (context.global.dtype != "auto") throw UsageError("bench measures f32 and bf16 side by side: leave out --dtype");
  bench::Setting setting;
  setting.quick = options.quick;
  setting.tiny = options.tiny;
  setting.repeats = options.repeats;
  setting.seed = context.global.seed;
  if (context.global.device == "cuda") {
    if (!options.kernel.empty()) throw UsageError("--kernel names kernels of the CPU: leave it out with --device cuda");
    setting.gpu = bench::open_gpu();
    setting.kernels = {setting.gpu->kernel};
  } else {
    setting.kernels = chosen_kernels(options.kernel);
  }
  setting.kernels_named = !options.kernel.empty();
  setting.progress = context.progress();
  setting.threads = worker_count(context);
  return setting;
}

std::vector<bench::Limit> limits_of(const bench::Setting& setting) {
  if (!setting.gpu) return bench::measure_limits(setting);
  std::vector<bench::Limit> limits;
  with_torch_errors([&] { limits = bench::measure_gpu_limits(setting, *setting.gpu); });
  return limits;
}

void run_bench(const Options& options, Context& context) {
  if (!options.serve.empty()) return bench::serve(options.serve, context);
  const std::vector<bench::Family> families = chosen_families(options.only, context.global.device == "cuda");
  const bench::Setting setting = setting_of(options, context);
  if (!options.out.empty()) const AtomicFile can_be_written(options.out);
  const bench::Machine machine = bench::describe_machine();  // its load is that of other programs
  use_threads(context.global.threads);
  const c10::InferenceMode no_gradients;
  bench::Bench bench(setting, limits_of(setting));
  for (size_t i = 0; i < families.size(); ++i) {
    bench.begin(families[i].name, static_cast<double>(i) / static_cast<double>(families.size()));
    with_torch_errors([&] { families[i].run(bench); });
  }
  const std::string json = json_text(bench::report_json(bench, machine));
  if (!options.out.empty()) write_file_atomically(options.out, json);
  context.output = context.global.json ? json : bench::report_text(bench, machine);
}

}  // namespace

void add_bench(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("bench", "Time the kernels beside the library's and the machine's limits");
  command->add_flag("--quick", options->quick, "Fewer shapes and rounds: within two minutes");
  command->add_option(
      "--only", options->only,
      fmt::format("The families to run, as in tile,linear; there are {}", fmt::join(family_names(false), ", ")));
  command->add_option("--kernel", options->kernel,
                      "Attention kernels, as in cpu/AVX2,cpu/AVX3; the fastest by default");
  command->add_option("--repeats", options->repeats, "Rounds of each contest; by default as many as there is time for");
  command->add_option("--out", options->out, "Also write the JSON to this file");
  command->add_flag("--tiny", options->tiny,
                    "The smallest shapes: compares everything in seconds, but its times say nothing");
  command->add_option("--serve", options->serve)->group("");  // what `model` runs its own side by
  command->footer(
      "Both sides are compared, then timed in turn; docs/performance.md explains the columns. Of the options of every\n"
      "command (headscope --help), --threads (of both sides), --seed (of the random data) and --json work here.\n"
      "Hugging Face's side of `model` needs a Python with transformers: HEADSCOPE_PYTHON names it, and after\n"
      "./test.sh it is there. Without, its rows are SKIPPED. With --device cuda the GPU is measured, beside "
      "LibTorch's\n"
      "attention on it.\n\n"
      "Example: headscope bench --quick --only attention,tile --out bench.json");
  command->callback([options, &action] { action = [options](Context& context) { run_bench(*options, context); }; });
}

}  // namespace headscope::cli
