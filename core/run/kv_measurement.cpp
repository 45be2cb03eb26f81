#include "core/run/kv_measurement.h"

#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <functional>
#include <vector>

#include "core/data/memory_report.h"
#include "core/run/decoder.h"

namespace headscope {
namespace {

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// Makes the process's peak what is resident now, where the system allows it; else the peak of its whole life stays,
/// which is no less.
void forget_peak() { std::ofstream("/proc/self/clear_refs") << "5"; }

/// Largest resident memory since then.
int64_t peak_bytes() {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    constexpr std::string_view name = "VmHWM:";
    if (line.starts_with(name)) return std::stoll(line.substr(name.size())) * 1024;
  }
  return resident_bytes();
}

/// Many different tokens of the vocabulary.
std::vector<int32_t> some_tokens(const Architecture& a, int64_t count) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < count; ++i) ids.push_back(static_cast<int32_t>((i * 7919 + 13) % a.vocab_size));
  return ids;
}

}  // namespace

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

KvComparison measure_in_turns(size_t models, std::span<const KvLoad> loads, int64_t repeats, const MeasureKv& measure) {
  KvLoad warm_up{1, 32, 2};
  for (const KvLoad& load : loads) warm_up.context = std::min(warm_up.context, load.context);
  for (size_t model = 0; model < models; ++model) measure(model, warm_up);
  KvComparison out{resident_bytes(), std::vector<std::vector<KvMeasurement>>(loads.size() * models)};
  for (int64_t repeat = 0; repeat < repeats; ++repeat) {
    for (size_t row = 0; row < out.rows.size(); ++row) {
      out.rows[row].push_back(measure(row % models, loads[row / models]));
    }
  }
  return out;
}

KvMeasurement measure_kv(const std::shared_ptr<const Model>& model, const KvLoad& load, const Progress& progress) {
  const Architecture& a = *model->architecture();
  if (load.steps < 2 || load.context <= load.steps) {
    fail("a measurement needs 2 steps and a longer context, but has {} steps and a context of {}", load.steps,
         load.context);
  }
  KvMeasurement out;
  out.formula_bytes = kv_bytes(a, load.batch, load.context, bytes_of(model->cache_element()));
  out.prompt_tokens = load.context - load.steps;
  malloc_trim(0);  // what earlier measurements left must not be counted, or be used again uncounted
  const int64_t before = resident_bytes();
  forget_peak();
  Decoder decoder(model, load.batch, load.context);
  progress.check();
  out.prefill_seconds = seconds_of([&] { decoder.prefill(some_tokens(a, out.prompt_tokens), progress); });
  std::vector<double> steps;
  std::vector<int32_t> ids = some_tokens(a, load.batch);
  for (int64_t step = 0; step < load.steps; ++step) {
    progress.check();
    steps.push_back(seconds_of([&] { ids = decoder.step(ids); }));
  }
  steps.erase(steps.begin());  // makes buffers and touches pages
  out.step_seconds = median(std::move(steps));
  out.most_growth_bytes = peak_bytes() - before;
  malloc_trim(0);
  out.growth_bytes = resident_bytes() - before;
  out.used_bytes = decoder.kv_used_bytes();
  out.allocated_bytes = decoder.kv_allocated_bytes();
  out.peak_bytes = decoder.kv_peak_bytes();
  out.read_bytes = decoder.kv_read_bytes();
  out.kernel = decoder.kernel();
  return out;
}

}  // namespace headscope
