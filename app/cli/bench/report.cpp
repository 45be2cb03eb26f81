#include "app/cli/bench/report.h"

#include <algorithm>

#include <fmt/ranges.h>
#include <torch/version.h>

#include "app/cli/bench/gpu.h"
#include "app/cli/terminal.h"
#include "core/base/text.h"
#include "core/run/kv_measurement.h"

namespace headscope::cli::bench {
namespace {

double fastest(const std::vector<double>& seconds) { return *std::min_element(seconds.begin(), seconds.end()); }

// ---- JSON

Json times_json(const std::vector<double>& seconds) {
  Json all = Json::array();
  for (const double one : seconds) all.push_back(one * 1e3);
  return {{"min", fastest(seconds) * 1e3}, {"median", median(seconds) * 1e3}, {"all", all}};
}

Json differences_json(const std::vector<Difference>& compared) {
  Json out = Json::array();
  for (const Difference& one : compared) {
    out.push_back({{"result", one.result},
                   {"largest_difference", one.largest},
                   {"largest_value", one.scale},
                   {"tolerance", one.tolerance}});
  }
  return out;
}

const char* target_name(const Target& target) {
  switch (target.of) {
    case Target::Of::ratio:
      return "ratio_of_minimums";
    case Target::Of::seconds:
      return "seconds";
    case Target::Of::share:
      return "share_of_floor";
    case Target::Of::memory:
      return "memory_by_formula";
  }
  return "";
}

Json row_json(const Row& row) {
  Json out = {{"family", row.family}, {"operation", row.what}, {"shape", row.shape}, {"ours", row.ours}};
  if (!row.theirs.empty()) out["library"] = row.theirs;
  if (!row.note.empty()) out["note"] = row.note;
  if (!row.skipped.empty()) {
    out["skipped"] = row.skipped;
    return out;
  }
  out["ours_ms"] = times_json(row.our_seconds);
  if (!row.theirs.empty()) {
    out["library_ms"] = times_json(row.their_seconds);
    out["ratio_of_minimums"] = row.ratio();
    out["ratio_of_medians"] = median(row.our_seconds) / median(row.their_seconds);
    out["compared"] = differences_json(row.compared);
    out["library_operations"] = row.operations;
  }
  if (row.floor) {
    out["floor"] = {{"limits", row.floor->limits},
                    {"ms", row.floor->seconds * 1e3},
                    {"share", row.floor->seconds / fastest(row.our_seconds)}};
  }
  if (const auto found = row.reached()) {
    out["target"] = {{"of", target_name(*row.target)},
                     {"wanted", row.target->wanted},
                     {"found", *found},
                     {"met", row.meets_target()}};
  }
  if (row.our_peak_bytes) out["ours_peak_bytes"] = *row.our_peak_bytes;
  if (const auto share = row.memory_share()) {
    out["memory"] = {{"loaded_bytes", row.memory->loaded}, {"formula_bytes", row.memory->pass}, {"by_formula", *share}};
  }
  if (row.their_peak_bytes) out["library_peak_bytes"] = *row.their_peak_bytes;
  return out;
}

/// What was measured: the processor, or a GPU.
Json device_json(const Gpu* gpu) {
  if (gpu == nullptr) return {{"kind", "cpu"}};
  return {{"kind", "cuda"}, {"name", gpu->name}, {"driver_cuda", gpu->driver}};
}

Json settings_json(const Setting& setting) {
  Json kernels = Json::array();
  for (const AttentionKernel& kernel : setting.kernels) kernels.push_back(std::string(kernel.name));
  return {{"quick", setting.quick},
          {"tiny", setting.tiny},
          {"repeats", setting.repeats},
          {"seed", setting.seed},
          {"kernels", kernels}};
}

// ---- text

std::string milliseconds(double seconds) {
  const double ms = seconds * 1e3;
  return fmt::format("{:.{}f}", ms, ms < 10 ? 3 : ms < 1000 ? 1 : 0);
}

std::string rate_text(const Limit& limit, double rate) { return fmt::format("{:.1f} G{}", rate * 1e-9, limit.unit); }

/// Of one thread and, where there are more, of all.
std::string limits_text(const Bench& bench) {
  const int threads = bench.setting().threads;
  std::vector<std::vector<std::string>> rows = {{"limit", "one thread", "measured by"}};
  for (const Limit& limit : bench.limits()) rows.push_back({limit.name, rate_text(limit, limit.one), limit.loop});
  if (threads > 1) {
    rows[0].insert(rows[0].begin() + 2, fmt::format("{} threads", threads));
    for (size_t i = 0; i < bench.limits().size(); ++i) {
      rows[i + 1].insert(rows[i + 1].begin() + 2, rate_text(bench.limits()[i], bench.limits()[i].all));
    }
  }
  return text_table(rows);
}

/// By the names that --kernel takes, the fastest first.
std::string kernel_names() {
  std::vector<std::string_view> names;
  for (const AttentionKernel& kernel : attention_kernels()) names.insert(names.begin(), kernel.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

std::vector<std::string> cells_of(const Row& row) {
  std::vector<std::string> cells = {"  " + row.what, row.ours, milliseconds(fastest(row.our_seconds)),
                                    milliseconds(median(row.our_seconds))};
  if (row.theirs.empty()) {
    cells.insert(cells.end(), {"", "", "", "", ""});
  } else {
    const double difference = row.compared.empty() ? 0 : nearest_to_its_tolerance(row.compared).relative();
    cells.insert(cells.end(),
                 {row.theirs, milliseconds(fastest(row.their_seconds)), milliseconds(median(row.their_seconds)),
                  fmt::format("{:.2f}", row.ratio()), fmt::format("{:.0e}", difference)});
  }
  cells.push_back(
      row.floor ? fmt::format("{:.0f} % of {}", 100 * row.floor->seconds / fastest(row.our_seconds), row.floor->limits)
                : "");
  return cells;
}

/// Whether an operation of LibTorch computes; others give a tensor another shape, or a place.
bool computes(std::string_view operation) {
  constexpr std::string_view others[] = {"alias",     "arange",     "as_strided",
                                         "cat",       "clone",      "constant_pad_nd",
                                         "copy",      "contiguous", "diagonal",
                                         "empty",     "expand",     "fill",
                                         "flatten",   "item",       "local_scalar_dense",
                                         "narrow",    "reshape",    "resize",
                                         "resolve",   "select",     "slice",
                                         "squeeze",   "t",          "to",
                                         "transpose", "unfold",     "unflatten",
                                         "unsafe",    "unsqueeze",  "view",
                                         "zero",      "zeros"};
  std::string_view name = operation.substr(operation.rfind(':') + 1);
  name.remove_prefix(std::min(name.find_first_not_of('_'), name.size()));
  return std::none_of(std::begin(others), std::end(others), [&](std::string_view other) {
    return name.starts_with(other) && (name.size() == other.size() || name[other.size()] == '_');
  });
}

/// "flash SDPA ran aten::...", a line for each name of theirs.
std::vector<std::string> operation_lines(const std::vector<const Row*>& rows) {
  std::vector<std::pair<std::string, std::vector<std::string>>> found;
  for (const Row* row : rows) {
    const auto same = [&](const auto& one) { return one.first == row->theirs; };
    auto entry = std::find_if(found.begin(), found.end(), same);
    if (entry == found.end()) entry = found.insert(entry, {row->theirs, {}});
    for (const std::string& one : row->operations) {
      auto& list = entry->second;
      if (computes(one) && std::find(list.begin(), list.end(), one) == list.end()) list.push_back(one);
    }
  }
  std::vector<std::string> lines;
  for (const auto& [name, list] : found) {
    if (!list.empty()) lines.push_back(fmt::format("{} ran {}", name, fmt::join(list, ", ")));
  }
  return lines;
}

/// "194 MB by cpu/AVX3, f32 (with the weights 692 MB, 1.05 of the formula)".
std::string our_peak(const Row& row) {
  const auto size = [](int64_t bytes) {
    return format_decimal_bytes(static_cast<uint64_t>(std::max<int64_t>(0, bytes)));
  };
  std::string out = fmt::format("{} by {}", size(*row.our_peak_bytes), row.ours);
  const auto share = row.memory_share();
  if (!share) return out;
  return out + fmt::format(" (with the weights {}, {:.2f} of the formula)",
                           size(row.memory->loaded + *row.our_peak_bytes), *share);
}

/// Memory of each side, a line for each shape.
std::vector<std::string> peak_lines(const std::vector<const Row*>& rows) {
  std::vector<std::pair<std::string, std::vector<std::string>>> found;
  for (const Row* row : rows) {
    if (!row->our_peak_bytes) continue;
    if (found.empty() || found.back().first != row->shape) found.push_back({row->shape, {}});
    auto& list = found.back().second;
    const auto add = [&](std::string one) {
      if (std::find(list.begin(), list.end(), one) == list.end()) list.push_back(std::move(one));
    };
    add(our_peak(*row));
    if (!row->their_peak_bytes) continue;
    const auto size = static_cast<uint64_t>(std::max<int64_t>(0, *row->their_peak_bytes));
    add(fmt::format("{} by {}", format_decimal_bytes(size), row->theirs));
  }
  std::vector<std::string> lines;
  for (const auto& [shape, list] : found) {
    lines.push_back(
        fmt::format("{}: at its peak a pass takes, beside what is loaded, {}", shape, fmt::join(list, "; ")));
  }
  return lines;
}

/// "target: at most 1.5 of the library's time, found 1.31: met".
std::string target_text(const Row& row) {
  const double unit = row.target->of == Target::Of::seconds ? 1e3 : 1;
  const char* what = row.target->of == Target::Of::ratio     ? "at most {:.3g} of the library's time"
                     : row.target->of == Target::Of::seconds ? "at most {:.3g} ms"
                     : row.target->of == Target::Of::share   ? "at least {:.3g} of what the limit allows"
                                                             : "at most {:.3g} of the formula";
  return fmt::format("{}, {}: target {}, found {:.3g}: {}", row.what, row.shape,
                     fmt::format(fmt::runtime(what), row.target->wanted * unit), *row.reached() * unit,
                     row.meets_target() ? "met" : "MISSED");
}

/// What does not fit into columns, each sentence once.
std::string remarks(const std::vector<const Row*>& rows) {
  std::vector<std::string> lines;
  const auto add = [&](std::string line) {
    if (std::find(lines.begin(), lines.end(), line) == lines.end()) lines.push_back(std::move(line));
  };
  for (const Row* row : rows) {
    if (!row->skipped.empty()) add(fmt::format("SKIPPED {}, {}: {}", row->what, row->shape, row->skipped));
  }
  for (std::string& line : peak_lines(rows)) add(std::move(line));
  for (const Row* row : rows) {
    if (!row->note.empty()) add(fmt::format("{} beside {}: {}", row->what, row->theirs, row->note));
  }
  for (const Row* row : rows) {
    if (row->reached()) add(target_text(*row));
  }
  for (std::string& line : operation_lines(rows)) lines.push_back(std::move(line));
  std::string out;
  for (const std::string& line : lines) out += "  " + line + "\n";
  return out;
}

std::string family_text(const Family& family, const std::vector<const Row*>& rows) {
  std::vector<std::vector<std::string>> table = {{std::string(family.name), "ours", "ms", "median", "library", "ms",
                                                  "median", "ratio", "difference", "of the limit"}};
  std::string shape;
  for (const Row* row : rows) {
    if (!row->skipped.empty()) continue;
    if (row->shape != shape) table.push_back({shape = row->shape});
    table.push_back(cells_of(*row));
  }
  std::string out = fmt::format("\n{}\n", family.about);
  if (table.size() > 1) out += text_table(table);
  return out + remarks(rows);
}

}  // namespace

Json report_json(const Bench& bench, const Machine& machine) {
  Json limits = Json::array(), rows = Json::array();
  for (const Limit& limit : bench.limits()) {
    limits.push_back({{"name", limit.name},
                      {"unit", limit.unit},
                      {"measured_by", limit.loop},
                      {"one_thread", limit.one},
                      {"all_threads", limit.all}});
  }
  for (const Row& row : bench.rows()) rows.push_back(row_json(row));
  return {{"machine",
           {{"cpu", machine.cpu},
            {"cores", machine.cores},
            {"l3_bytes", machine.l3_bytes},
            {"memory_bytes", machine.memory_bytes},
            {"vector_targets", machine.vector_targets},
            {"load_at_start", machine.load}}},
          {"device", device_json(bench.setting().gpu.get())},
          {"date", utc_now()},
          {"version", HEADSCOPE_VERSION},
          {"commit", commit()},
          {"libtorch", TORCH_VERSION},
          {"threads", bench.setting().threads},
          {"settings", settings_json(bench.setting())},
          {"limits", limits},
          {"rows", rows}};
}

std::string report_text(const Bench& bench, const Machine& machine) {
  std::string out = facts_table(
      {{"machine", fmt::format("{}, {} cores, L3 {}", machine.cpu, machine.cores,
                               format_bytes(static_cast<uint64_t>(machine.l3_bytes)))},
       {"kernels", kernel_names()},
       {"program", fmt::format("headscope {}, commit {}, LibTorch {}", HEADSCOPE_VERSION, commit(), TORCH_VERSION)},
       {"device", bench.setting().gpu ? bench.setting().gpu->name : "the processor"},
       {"date", utc_now()}});
  if (machine.load > 0.5) {
    out += fmt::format(
        "\nThe machine was busy when this began (load {:.1f}): limits are too low and times too long; ratios hold "
        "better.\n",
        machine.load);
  }
  out += "\n" + limits_text(bench);
  for (const Family& family : families(bench.setting().gpu != nullptr)) {
    std::vector<const Row*> rows;
    for (const Row& row : bench.rows()) {
      if (row.family == family.name) rows.push_back(&row);
    }
    if (!rows.empty()) out += family_text(family, rows);
  }
  if (!bench.rows().empty()) {
    out +=
        "\nms: the fastest round, beside it the median; ratio: our fastest by the library's, so below 1 we are faster; "
        "difference:\nthe largest between both results, relative to the largest value, of the result that uses most of "
        "its tolerance.\n";
  }
  return out;
}

}  // namespace headscope::cli::bench
