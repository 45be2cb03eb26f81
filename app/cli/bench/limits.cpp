// The machine's limits: each loop of kernels/bench/limits.h alone and on all threads.
#include <algorithm>
#include <cmath>
#include <limits>

#include "app/cli/bench/bench.h"
#include "app/cli/bench/machine.h"
#include "core/base/text.h"
#include "core/data/workspace.h"
#include "core/model/torch_workers.h"
#include "kernels/bench/limits.h"

namespace headscope::cli::bench {
namespace {

struct Loop {
  const char* name;
  const char* unit;
  const char* what;
  std::function<LoopWork(int64_t part)> run;  ///< one of `parts` equal parts, on one thread
  int64_t parts;
};

/// Highest rate of the tries that fit into `budget` seconds, one at least: other programs only ever take time away.
/// Tries are short, so that some run undisturbed.
double rate(const Loop& loop, const ParallelFor& workers, double budget) {
  std::vector<LoopWork> done(static_cast<size_t>(loop.parts));
  double best = 0, spent = 0;
  do {
    const double seconds = seconds_of(
        [&] { workers.run(loop.parts, [&](int64_t part, int) { done[static_cast<size_t>(part)] = loop.run(part); }); });
    double count = 0, sum = 0;
    for (const LoopWork& part : done) {
      count += part.count;
      sum += part.sum;
    }
    if (!std::isfinite(sum)) throw std::logic_error("a loop of the machine's limits gave no number");
    best = std::max(best, count / seconds);
    spent += seconds;
  } while (spent < budget);
  return best;
}

/// More than 8 times what the last cache holds, as far as memory goes.
int64_t stream_bytes(const Setting& setting) { return setting.tiny ? int64_t{1} << 20 : beyond_caches(9, 2); }

}  // namespace

std::vector<Limit> measure_limits(const Setting& setting) {
  const TorchWorkers workers;
  const int64_t size = stream_bytes(setting) / static_cast<int64_t>(sizeof(float)), part = int64_t{1} << 18;
  const Workspace memory(static_cast<size_t>(size) * sizeof(float));
  auto* const numbers = reinterpret_cast<float*>(memory.span().data());
  const int64_t parts = (size + part - 1) / part;
  const auto length = [&](int64_t index) { return std::min(part, size - index * part); };
  // Written first: memory that nobody wrote is one page of zeros, which the cache holds.
  workers.run(parts, [&](int64_t i, int) { std::fill_n(numbers + i * part, length(i), 0.001F); });

  const int64_t rounds = setting.tiny ? 100 : 100'000, pieces = 4 * workers.workers();
  const Loop loops[] = {
      {"fma", "FLOP/s", "multiply-adds in registers, f32", [&](int64_t) { return fma_loop(rounds * 4); }, pieces},
      {"exp", "values/s", "exp of the kernels, f32", [&](int64_t) { return exp_loop(rounds / 50); }, pieces},
      {"log", "values/s", "log2 of the kernels, f32", [&](int64_t) { return log_loop(rounds / 50); }, pieces},
      {"read", "B/s", "", [&](int64_t i) { return read_loop(numbers + i * part, length(i)); }, parts},
  };
  std::vector<Limit> out;
  for (const Loop& loop : loops) {
    setting.progress.step(fmt::format("limits: {}", loop.name), 0);
    const double budget = setting.tiny ? 0 : setting.quick ? 0.5 : 1.5, one = rate(loop, SerialFor(), budget);
    // All threads give no less than one, though on a busy machine it may seem so.
    out.push_back({loop.name, loop.unit, loop.what, one, std::max(one, rate(loop, workers, budget))});
  }
  out.back().loop = "reading " + format_bytes(static_cast<uint64_t>(size) * sizeof(float)) + " once, in order";
  return out;
}

}  // namespace headscope::cli::bench
