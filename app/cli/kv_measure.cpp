#include "app/cli/kv_measure.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include "app/cli/model_access.h"
#include "core/base/text.h"
#include "core/model/random_weights.h"
#include "core/run/kv_measurement.h"

namespace headscope::cli {
namespace {

std::string count(int64_t value) { return format_count(static_cast<uint64_t>(value)); }
std::string binary(int64_t bytes) { return format_bytes(static_cast<uint64_t>(std::max<int64_t>(0, bytes))); }

/// Tokens that are decoded at the end of a context: short ones have a prompt of half of it.
int64_t steps_of(const MeasureOptions& options, int64_t context) {
  return std::clamp<int64_t>(options.steps, 2, context / 2);
}

/// Of memory that can be taken without swapping; nothing when the system does not say.
std::optional<int64_t> available_bytes() {
  std::ifstream file("/proc/meminfo");
  for (std::string line; std::getline(file, line);) {
    constexpr std::string_view name = "MemAvailable:";
    if (line.starts_with(name)) return std::stoll(line.substr(name.size())) * 1024;
  }
  return std::nullopt;
}

/// The system kills a program that takes more than there is, so this asks first.
void require_memory(int64_t bytes, const std::string& what, std::string_view instead) {
  const auto available = available_bytes();
  if (!available || bytes <= *available) return;
  fail("{} needs {}, but {} of memory are free; {}", what, binary(bytes), binary(*available), instead);
}

/// What a model's weights take in memory.
int64_t weight_bytes(const KvSubject& subject, DType dtype) {
  return subject.parameters * static_cast<int64_t>(dtype_bytes(dtype));
}

class Measurement {
 public:
  Measurement(const std::vector<MeasureSubject>& subjects, const MeasureOptions& options, Context& context)
      : options_(options), context_(context) {
    check_dtype(context.global);
    use_threads(context.global.threads);
    if (options.memory_limit) require_memory(*options.memory_limit, "--memory-limit", "give a lower one");
    require_fit(subjects);
    for (const MeasureSubject& one : subjects) load(one);
    require_caches();
  }

  Measured run() {
    std::vector<KvLoad> loads;
    for (const int64_t batch : options_.batches) {
      for (const int64_t tokens : options_.contexts) loads.push_back({batch, tokens, steps_of(options_, tokens)});
    }
    KvComparison compared = measure_in_turns(
        models_.size(), loads, options_.repeats,
        [&](size_t model, const KvLoad& load) { return measure_kv(models_[model], load, progress()); });
    loaded_ = compared.resident_bytes;
    found_ = std::move(compared.rows);
    keep_medians();
    if (options_.memory_limit) find_largest();
    describe();
    return std::move(out_);
  }

 private:
  Progress progress() const { return {context_.stop, {}}; }

  /// Refuses, before anything is loaded, what cannot be measured.
  void require_fit(const std::vector<MeasureSubject>& subjects) const {
    int64_t weights = 0;
    for (const MeasureSubject& one : subjects) {
      for (const int64_t tokens : options_.contexts) {
        const int64_t most = one.subject.architecture->context;
        if (tokens < 4) throw UsageError("--measure needs contexts of 4 tokens or more");
        if (tokens <= most) continue;
        fail("{} has a context of {} tokens, so {} cannot be measured; give fewer with --context", one.subject.label(),
             count(most), count(tokens));
      }
      weights += weight_bytes(one.subject, context_.global.dtype == "bf16" ? DType::bf16 : DType::f32);
      require_memory(weights,
                     fmt::format("{} with its weights{}", one.subject.label(),
                                 &one == subjects.data() ? "" : " beside the models before it"),
                     "measure fewer or smaller models, or leave out --measure");
    }
  }

  /// The largest cache has to fit beside the models, which are there now.
  void require_caches() const {
    for (size_t i = 0; i < models_.size(); ++i) {
      const KvSubject& subject = out_.speed.subjects[i];
      const int64_t batch = *std::max_element(options_.batches.begin(), options_.batches.end());
      const int64_t tokens = *std::max_element(options_.contexts.begin(), options_.contexts.end());
      require_memory(
          kv_bytes(*subject.architecture, batch, tokens, bytes_of(models_[i]->cache_element())),
          fmt::format("the KV cache of {} with batch {} and context {}", subject.label(), count(batch), count(tokens)),
          "give fewer with --batch or --context");
    }
  }

  void load(const MeasureSubject& one) {
    const bool bf16 = context_.global.dtype == "bf16";
    models_.push_back(one.checkpoint.empty()
                          ? random_weights(one.subject.label(), *one.subject.architecture,
                                           bf16 ? DType::bf16 : DType::f32, context_.global.seed, context_.progress())
                          : load_model(one.checkpoint, {}, context_));
    out_.speed.subjects.push_back(one.subject);
    out_.speed.dtypes.emplace_back(models_.back()->dtype() == DType::bf16 ? "bf16" : "f32");
    out_.speed.weights.emplace_back(one.checkpoint.empty() ? "random" : "checkpoint");
  }

  /// Rows by subject, batch and context, as kv_compare_rows has them.
  void keep_medians() {
    const size_t subjects = models_.size(), contexts = options_.contexts.size();
    for (size_t i = 0; i < subjects; ++i) {
      for (size_t b = 0; b < options_.batches.size(); ++b) {
        for (size_t c = 0; c < contexts; ++c) {
          const auto& times = found_[(b * contexts + c) * subjects + i];
          out_.speed.rows.push_back(median_row(i, options_.batches[b], options_.contexts[c], times));
        }
      }
      out_.speed.kernels.push_back(found_[i].front().kernel);
    }
  }

  static KvSpeedRow median_row(size_t subject, int64_t batch, int64_t tokens, const std::vector<KvMeasurement>& times) {
    std::vector<double> prefill, step, growth, most;
    for (const KvMeasurement& one : times) {
      prefill.push_back(static_cast<double>(one.prompt_tokens) / one.prefill_seconds);
      step.push_back(one.step_seconds);
      growth.push_back(static_cast<double>(one.growth_bytes));
      most.push_back(static_cast<double>(one.most_growth_bytes));
    }
    const KvMeasurement& last = times.back();
    const auto [fastest, slowest] = std::minmax_element(step.begin(), step.end());
    const auto sequences = static_cast<double>(batch);
    KvSpeedRow row{subject, batch, tokens, last.formula_bytes, last.used_bytes, last.allocated_bytes, last.peak_bytes};
    row.growth = static_cast<int64_t>(median(growth));
    row.most_growth = static_cast<int64_t>(median(most));
    row.read = last.read_bytes;
    row.prefill = median(prefill);
    row.slowest = sequences / *slowest;
    row.fastest = sequences / *fastest;
    row.step_ms = median(step) * 1e3;
    row.decode = sequences / median(step);
    row.too_short = tokens < fewest_telling_tokens;
    return row;
  }

  int64_t weights(size_t subject) const {
    return weight_bytes(out_.speed.subjects[subject], models_[subject]->dtype());
  }
  /// What a process that holds this model alone takes: the weights of the others are left out.
  int64_t process(size_t subject) const {
    int64_t others = 0;
    for (size_t i = 0; i < models_.size(); ++i) others += i == subject ? 0 : weights(i);
    return loaded_ - others;
  }

  void find_largest() {
    for (size_t i = 0; i < models_.size(); ++i) {
      for (const int64_t tokens : options_.contexts) {
        LargestBatch found{i, tokens, 0, 0};
        search(found, *options_.memory_limit - process(i));
        for (KvSpeedRow& row : out_.speed.rows) {
          if (row.subject == i && row.context == tokens) row.largest_batch = found.batch;
        }
        out_.largest.push_back(found);
      }
    }
  }

  /// Goes up by real measurements, at most to twice what has fitted, then halves what is between. No batch is tried
  /// whose cache alone would not fit in `room` bytes.
  void search(LargestBatch& found, int64_t room) const {
    const auto& model = models_[found.subject];
    const int64_t sequence =
        std::max<int64_t>(1, kv_bytes(*model->architecture(), 1, found.context, bytes_of(model->cache_element())));
    int64_t too_many = std::max<int64_t>(0, room) / sequence + 1, batch = 1;
    while (found.batch + 1 < too_many) {
      batch = std::clamp(batch, found.batch + 1, too_many - 1);
      const int64_t grown = measure_kv(model, {batch, found.context, 2}, progress()).most_growth_bytes;
      if (grown <= room) {
        found.batch = batch;
        found.resident = process(found.subject) + grown;
        batch = std::min(2 * batch, batch + std::max<int64_t>(1, (room - grown) / sequence));
      } else {
        too_many = batch;
        batch = found.batch + (too_many - found.batch) / 2;
      }
    }
  }

  void describe() {
    out_.speed.repeats = options_.repeats;
    out_.speed.threads = worker_count(context_);
    auto& notes = out_.speed.notes;
    notes.push_back(
        fmt::format("measured: cpu, {} threads, weights and cache {}", worker_count(context_),
                    listed(std::set<std::string, std::less<>>(out_.speed.dtypes.begin(), out_.speed.dtypes.end()))));
    notes.push_back(fmt::format("medians of {}", options_.repeats));
    if (double load = 0; getloadavg(&load, 1) == 1 && load > 1.5 * worker_count(context_)) {
      notes.push_back(fmt::format("the machine was busy (load {:.1f}): speeds are too low", load));
    }
    if (std::find(out_.speed.weights.begin(), out_.speed.weights.end(), "random") != out_.speed.weights.end()) {
      notes.emplace_back("random weights where there is no checkpoint");
    }
    out_.options = options_;
  }

  const MeasureOptions options_;
  Context& context_;
  std::vector<std::shared_ptr<const Model>> models_;
  int64_t loaded_ = 0;                             ///< resident bytes with all models, before any cache
  std::vector<std::vector<KvMeasurement>> found_;  ///< by batch, context, subject; then by repeat
  Measured out_;
};

}  // namespace

Measured measure(const std::vector<MeasureSubject>& subjects, const MeasureOptions& options, Context& context) {
  return Measurement(subjects, options, context).run();
}

}  // namespace headscope::cli
