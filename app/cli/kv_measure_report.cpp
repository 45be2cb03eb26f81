#include <algorithm>

#include "app/cli/kv_measure.h"
#include "app/cli/terminal.h"
#include "core/base/text.h"
#include "core/run/kv_measurement.h"
#include "core/views/plot/ticks.h"

namespace headscope::cli {
namespace {

std::string count(int64_t value) { return format_count(static_cast<uint64_t>(value)); }
std::string binary(int64_t bytes) { return format_bytes(static_cast<uint64_t>(std::max<int64_t>(0, bytes))); }

std::string speed_table(const Measured& measured) {
  std::vector<std::vector<std::string>> rows = {{"measured", "batch", "context", "formula", "used", "allocated",
                                                 "process +", "to read a step", "prefill", "decode", "of its times",
                                                 "a step"}};
  for (const KvSpeedRow& row : measured.speed.rows) {
    rows.push_back({measured.speed.subjects[row.subject].label(), count(row.batch), count(row.context),
                    binary(row.formula), binary(row.used), binary(row.allocated), binary(row.growth), binary(row.read),
                    fmt::format("{} tokens/s", grouped_number(row.prefill)),
                    fmt::format("{} tokens/s", grouped_number(row.decode)),
                    fmt::format("{} to {}", grouped_number(row.slowest), grouped_number(row.fastest)),
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

Json measured_json(const Measured& measured, size_t row) {
  const KvSpeedRow& one = measured.speed.rows[row];
  Json out = {{"weights", measured.speed.weights[one.subject]},
              {"cache_dtype", measured.speed.dtypes[one.subject]},
              {"formula_bytes", one.formula},
              {"used_bytes", one.used},
              {"allocated_bytes", one.allocated},
              {"peak_bytes", one.peak},
              {"process_growth_bytes", one.growth},
              {"process_peak_bytes", one.most_growth},
              {"read_bytes_per_step", one.read},
              {"prefill_tokens_per_second", one.prefill},
              {"decode_tokens_per_second", one.decode},
              {"decode_range", {one.slowest, one.fastest}},
              {"step_ms", one.step_ms},
              {"too_short", one.too_short},
              {"repeats", measured.speed.repeats},
              {"kernel", measured.speed.kernels[one.subject]},
              {"device", "cpu"},
              {"threads", measured.speed.threads}};
  for (const LargestBatch& largest : measured.largest) {
    if (largest.subject != one.subject || largest.context != one.context) continue;
    out["largest_batch"] = {{"batch", largest.batch},
                            {"memory_limit_bytes", *measured.options.memory_limit},
                            {"process_bytes", largest.resident}};
  }
  return out;
}

std::string measured_text(const Measured& measured) {
  std::string out = speed_table(measured);
  const auto& rows = measured.speed.rows;
  if (std::any_of(rows.begin(), rows.end(), [](const KvSpeedRow& row) { return row.too_short; })) {
    out += fmt::format("\nContexts below {} tokens are too short to show a KV effect.\n", fewest_telling_tokens);
  }
  if (!measured.largest.empty()) {
    out += fmt::format("\nThe most that keeps a process with one model below {} at its peak:\n{}",
                       measured.options.memory_limit_text, largest_table(measured));
  }
  out += fmt::format("\n{}.\n", fmt::join(measured.speed.notes, "; "));
  out +=
      "All of this with a cache of 4 B a number. Used are the written rows, allocated is their storage: room for the "
      "whole "
      "context,\nand with a sliding window for it and the tokens that are written at once. Process + is the growth of "
      "resident memory, rounded\nto pages; it varies by some MB. To read a step is by formula what each layer's "
      "queries "
      "see: sharing across layers saves memory\nheld, not memory read; SharedKV rotates keys while it reads values, "
      "slim makes values anew at each step. Prefill is that of\none sequence, whose cache is copied to the others; "
      "decode is of all sequences together.\n";
  return out;
}

}  // namespace headscope::cli
