#include "app/cli/kv_measure.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>

#include "app/cli/model_access.h"
#include "app/cli/terminal.h"
#include "core/base/text.h"
#include "core/model/random_weights.h"
#include "core/run/kv_measurement.h"

namespace headscope::cli {
namespace {

std::string count(int64_t value) { return format_count(static_cast<uint64_t>(value)); }
std::string binary(int64_t bytes) { return format_bytes(static_cast<uint64_t>(std::max<int64_t>(0, bytes))); }

template <class Number>
Number median(std::vector<Number> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<int64_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

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

struct Loaded {
  std::shared_ptr<const Model> model;
  int64_t resident = 0;  ///< bytes that the process grew by
};

class Bench {
 public:
  Bench(const std::vector<MeasureSubject>& subjects, const MeasureOptions& options, Context& context)
      : options_(options), context_(context) {
    check_dtype(context.global);
    use_threads(context.global.threads);
    if (options.memory_limit) require_memory(*options.memory_limit, "--memory-limit", "give a lower one");
    base_ = resident_bytes();
    for (const MeasureSubject& one : subjects) require_fit(one);
    for (const MeasureSubject& one : subjects) load(one);
  }

  Measured run() {
    for (size_t i = 0; i < models_.size(); ++i) measure_kv(models_[i].model, {1, 32, 4}, progress());  // warms up
    // Subjects take turns at every place, so that a slow moment of the machine meets all of them.
    for (int64_t repeat = 0; repeat < options_.repeats; ++repeat) {
      size_t row = 0;
      for (const int64_t batch : options_.batches) {
        for (const int64_t tokens : options_.contexts) {
          for (size_t i = 0; i < models_.size(); ++i) {
            found_.resize(std::max(found_.size(), row + 1));
            found_[row++].push_back(
                measure_kv(models_[i].model, {batch, tokens, steps_of(options_, tokens)}, progress()));
          }
        }
      }
    }
    keep_medians();
    if (options_.memory_limit) find_largest();
    describe();
    return std::move(out_);
  }

 private:
  Progress progress() const { return {context_.stop, {}}; }

  /// Refuses, before anything is loaded, what cannot be measured.
  void require_fit(const MeasureSubject& one) const {
    for (const int64_t tokens : options_.contexts) {
      const int64_t most = one.subject.architecture->context;
      if (tokens > most) {
        fail("{} has a context of {} tokens, so {} cannot be measured; give fewer with --context", one.subject.label(),
             count(most), count(tokens));
      }
      for (const int64_t batch : options_.batches) {
        require_memory(kv_bytes(*one.subject.architecture, batch, tokens, sizeof(float)),
                       fmt::format("the KV cache of {} with batch {} and context {}", one.subject.label(), count(batch),
                                   count(tokens)),
                       "give fewer with --batch or --context");
      }
      if (tokens < 4) throw UsageError("--measure needs contexts of 4 tokens or more");
    }
  }

  void load(const MeasureSubject& one) {
    const int64_t before = resident_bytes();
    const bool bf16 = context_.global.dtype == "bf16";
    require_memory(one.subject.parameters * (bf16 ? 2 : 4), fmt::format("{} with its weights", one.subject.label()),
                   "measure a smaller model, or leave out --measure");
    Loaded loaded;
    loaded.model = one.checkpoint.empty()
                       ? random_weights(one.subject.label(), *one.subject.architecture, bf16 ? DType::bf16 : DType::f32,
                                        context_.global.seed, context_.progress())
                       : load_model(one.checkpoint, {}, context_);
    loaded.resident = resident_bytes() - before;
    models_.push_back(std::move(loaded));
    out_.speed.subjects.push_back(one.subject);
    out_.random.push_back(one.checkpoint.empty());
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
      out_.kernels.push_back(found_[i].front().kernel);
    }
  }

  static KvSpeedRow median_row(size_t subject, int64_t batch, int64_t tokens, const std::vector<KvMeasurement>& times) {
    std::vector<double> prefill, step;
    std::vector<int64_t> growth;
    for (const KvMeasurement& one : times) {
      prefill.push_back(static_cast<double>(one.prompt_tokens) / one.prefill_seconds);
      step.push_back(one.step_seconds);
      growth.push_back(one.growth_bytes);
    }
    const KvMeasurement& last = times.back();
    const double seconds = median(step);
    return {subject,
            batch,
            tokens,
            last.formula_bytes,
            last.used_bytes,
            last.allocated_bytes,
            last.peak_bytes,
            median(growth),
            last.read_bytes,
            median(prefill),
            static_cast<double>(batch) / seconds,
            seconds * 1e3,
            tokens < fewest_telling_tokens};
  }

  int64_t room(size_t subject) const { return *options_.memory_limit - base_ - models_[subject].resident; }

  /// Starts from the growth of the largest measured batch and goes up or down by real measurements.
  void find_largest() {
    for (size_t i = 0; i < models_.size(); ++i) {
      for (const int64_t tokens : options_.contexts) {
        const auto grown = [&](int64_t batch) {
          return measure_kv(models_[i].model, {batch, tokens, 2}, progress()).growth_bytes;
        };
        LargestBatch found{i, tokens, 0, 0};
        const int64_t one = std::max<int64_t>(1, grown(1));
        if (one <= room(i)) {
          found.batch = 1;
          found.resident = base_ + models_[i].resident + one;
          search(found, grown, std::max<int64_t>(1, room(i) / one));
        }
        out_.largest.push_back(found);
      }
    }
  }

  template <class Grown>
  void search(LargestBatch& found, const Grown& grown, int64_t guess) const {
    int64_t too_many = INT64_MAX;
    constexpr int most_tries = 12;
    for (int tries = 0; tries < most_tries && found.batch + 1 < too_many; ++tries) {
      const int64_t batch = std::clamp(guess, found.batch + 1, too_many - 1);
      const int64_t bytes = grown(batch);
      if (bytes <= room(found.subject)) {
        found.batch = batch;
        found.resident = base_ + models_[found.subject].resident + bytes;
      } else {
        too_many = batch;
      }
      guess = std::max<int64_t>(1, room(found.subject) * batch / std::max<int64_t>(1, bytes));
    }
  }

  void describe() {
    auto& notes = out_.speed.notes;
    notes.push_back(fmt::format("measured: cpu, {} threads, {} weights, f32 cache", worker_count(context_),
                                models_.front().model->dtype() == DType::bf16 ? "bf16" : "f32"));
    notes.push_back(fmt::format("medians of {}", options_.repeats));
    if (std::any_of(out_.random.begin(), out_.random.end(), [](bool one) { return one; })) {
      notes.emplace_back("random weights where there is no checkpoint");
    }
    out_.options = options_;
  }

  const MeasureOptions options_;
  Context& context_;
  int64_t base_ = 0;  ///< resident bytes before any model
  std::vector<Loaded> models_;
  std::vector<std::vector<KvMeasurement>> found_;  ///< by batch, context, subject; then by repeat
  Measured out_;
};

}  // namespace

Measured measure(const std::vector<MeasureSubject>& subjects, const MeasureOptions& options, Context& context) {
  return Bench(subjects, options, context).run();
}

Json measured_json(const Measured& measured, size_t row, const Context& context) {
  const KvSpeedRow& one = measured.speed.rows[row];
  Json out = {{"weights", measured.random[one.subject] ? "random" : "checkpoint"},
              {"cache_dtype", "f32"},
              {"formula_bytes", one.formula},
              {"used_bytes", one.used},
              {"allocated_bytes", one.allocated},
              {"peak_bytes", one.peak},
              {"process_growth_bytes", one.growth},
              {"read_bytes_per_step", one.read},
              {"prefill_tokens_per_second", one.prefill},
              {"decode_tokens_per_second", one.decode},
              {"step_ms", one.step_ms},
              {"too_short", one.too_short},
              {"repeats", measured.options.repeats},
              {"kernel", measured.kernels[one.subject]},
              {"device", "cpu"},
              {"threads", worker_count(context)}};
  for (const LargestBatch& largest : measured.largest) {
    if (largest.subject != one.subject || largest.context != one.context) continue;
    out["largest_batch"] = {{"batch", largest.batch},
                            {"memory_limit_bytes", *measured.options.memory_limit},
                            {"process_bytes", largest.resident}};
  }
  return out;
}

namespace {

std::string speed_table(const Measured& measured) {
  std::vector<std::vector<std::string>> rows = {{"measured", "batch", "context", "formula", "used", "allocated",
                                                 "process +", "read a step", "prefill", "decode", "a step"}};
  for (const KvSpeedRow& row : measured.speed.rows) {
    rows.push_back({measured.speed.subjects[row.subject].label(), count(row.batch), count(row.context),
                    binary(row.formula), binary(row.used), binary(row.allocated), binary(row.growth), binary(row.read),
                    fmt::format("{:.0f} tokens/s", row.prefill), fmt::format("{:.1f} tokens/s", row.decode),
                    fmt::format("{:.2f} ms", row.step_ms)});
  }
  return text_table(rows);
}

std::string largest_table(const Measured& measured) {
  std::vector<std::vector<std::string>> rows = {{"largest batch", "context", "sequences", "process"}};
  for (const LargestBatch& one : measured.largest) {
    rows.push_back({measured.speed.subjects[one.subject].label(), count(one.context), count(one.batch),
                    one.batch == 0 ? "does not fit" : binary(one.resident)});
  }
  return text_table(rows);
}

}  // namespace

std::string measured_text(const Measured& measured) {
  std::string out = speed_table(measured);
  const auto& rows = measured.speed.rows;
  if (std::any_of(rows.begin(), rows.end(), [](const KvSpeedRow& row) { return row.too_short; })) {
    out += fmt::format("\nContexts below {} tokens are too short to show a KV effect.\n", fewest_telling_tokens);
  }
  if (!measured.largest.empty()) {
    out += fmt::format("\nBelow {} for the whole process with one model:\n{}", binary(*measured.options.memory_limit),
                       largest_table(measured));
  }
  out += fmt::format("\n{}.\n", fmt::join(measured.speed.notes, "; "));
  out +=
      "Used are the written rows, allocated is their storage: room for the whole context, and with a sliding window "
      "room for\nthe window less one and the tokens that are written at once. Process + is the growth of resident "
      "memory, rounded to pages,\nwith what a step needs beside the cache. A step reads what each layer's queries see: "
      "sharing across layers saves memory held,\nnot memory read; SharedKV pays for its half by rotating keys again at "
      "each step. Prefill is that of one sequence, whose cache\nis copied to the others; decode is of all sequences "
      "together.\n";
  return out;
}

int64_t parse_bytes(const std::string& text, std::string_view what) {
  static constexpr std::array<std::pair<std::string_view, int64_t>, 8> units{{{"KiB", int64_t{1} << 10},
                                                                              {"MiB", int64_t{1} << 20},
                                                                              {"GiB", int64_t{1} << 30},
                                                                              {"TiB", int64_t{1} << 40},
                                                                              {"kB", 1000},
                                                                              {"MB", 1000000},
                                                                              {"GB", 1000000000},
                                                                              {"TB", 1000000000000}}};
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  const auto found = std::find_if(units.begin(), units.end(), [&](const auto& one) { return one.first == unit; });
  if (error != std::errc() || found == units.end() || !(number > 0) || number > 1e6) {
    throw UsageError(fmt::format("{} {} must be a size as in 2GiB or 500MB", what, quoted(text)));
  }
  return static_cast<int64_t>(number * static_cast<double>(found->second));
}

}  // namespace headscope::cli
