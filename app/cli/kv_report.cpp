#include "app/cli/kv_report.h"

#include <fmt/format.h>

#include "app/cli/terminal.h"
#include "core/arch/footprint.h"
#include "core/arch/published.h"
#include "core/base/text.h"

namespace headscope::cli {
namespace {

std::string count(int64_t value) { return format_count(static_cast<uint64_t>(value)); }
std::string binary(int64_t bytes) { return format_bytes(static_cast<uint64_t>(bytes)); }

/// "4.50 GiB = 4.83 GB"
std::string both_units(int64_t bytes) {
  const std::string decimal = format_decimal_bytes(static_cast<uint64_t>(bytes));
  const std::string first = binary(bytes);
  return first == decimal ? first : fmt::format("{} = {}", first, decimal);
}

std::string scratch_equation(const Architecture& a, int64_t batch) {
  return fmt::format("{} x ({}) x 4 B", count(batch), decode_scratch(a).equation);
}

/// Of each subject the bytes of a token, those of the largest batch and context, and where a model was found.
std::string equations(const KvCompareData& data, const std::vector<std::string>& sources) {
  const int64_t batch = *std::max_element(data.batches.begin(), data.batches.end());
  const int64_t context = *std::max_element(data.contexts.begin(), data.contexts.end());
  std::string out;
  for (size_t i = 0; i < data.subjects.size(); ++i) {
    const KvSubject& subject = data.subjects[i];
    const Architecture& a = *subject.architecture;
    const bool itself = subject.scheme.empty();
    const std::string variant = itself ? fmt::format(" ({})", variant_name(a)) : "";
    out += fmt::format("{}{}: {}\n", subject.label(), variant, kv_equation(a, data.element_bytes));
    out += fmt::format("  {}\n", kv_total_equation(a, batch, context, data.element_bytes));
    if (itself) out += fmt::format("  {}\n", sources[i]);
  }
  return out;
}

/// Which of the contexts that were asked for are longer than a model's own.
std::string beyond_context(const KvCompareData& data) {
  const int64_t longest = *std::max_element(data.contexts.begin(), data.contexts.end());
  std::string out;
  for (const KvSubject& subject : data.subjects) {
    const int64_t context = subject.architecture->context;
    if (!subject.scheme.empty() || longest <= context) continue;
    out += fmt::format("{} has a context of {} tokens: rows beyond it are arithmetic, it cannot run them.\n",
                       subject.model, count(context));
  }
  return out;
}

std::string footnotes(const KvCompareData& data) {
  std::string out = fmt::format("By formula; {}: {} B a number in cache and weights. ", data.dtype, data.element_bytes);
  out += "KiB, MiB, GiB are 1,024, 1,024^2, 1,024^3 B; kB, MB, GB are 1,000, 1,000^2, 1,000^3 B.\n";
  out += fmt::format(
      "Weights are parameters x {} B. Scratch is the largest moment of one decode step in f32, attention "
      "in one pass:\n",
      data.element_bytes);
  for (const KvSubject& subject : data.subjects) {
    if (subject.scheme.empty()) {
      out += fmt::format("  {}: batch x ({}) x 4 B\n", subject.model, decode_scratch(*subject.architecture).equation);
    }
  }
  out += beyond_context(data);
  for (size_t i = 0; i < data.subjects.size(); ++i) {
    if (const std::string taken = kv_assumption(data, i); !taken.empty()) {
      out += fmt::format("{}: {}.\n", data.subjects[i].label(), taken);
    }
  }
  for (const KvSubject& subject : data.subjects) {
    if (!subject.counterfactual) continue;
    out +=
        "Counterfactual rows are models that nobody trained: layers, query heads and head size as they are, sharing "
        "changed, weights with the projections that it needs.\n";
    break;
  }
  return out;
}

}  // namespace

Json kv_json(const KvCompareData& data, const std::vector<std::string>& sources) {
  Json out = Json::array();
  for (const KvCompareRow& row : kv_compare_rows(data)) {
    const KvSubject& subject = data.subjects[row.subject];
    const Architecture& a = *subject.architecture;
    const bool itself = subject.scheme.empty();
    const std::string taken = kv_assumption(data, row.subject);
    out.push_back({{"model", subject.label()},
                   {"batch", row.batch},
                   {"context", row.context},
                   {"dtype", data.dtype},
                   {"bytes", row.bytes},
                   {"bytes_per_token", row.bytes_per_token},
                   {"variant", variant_name(a)},
                   {"counterfactual", subject.counterfactual},
                   {"model_context", a.context},
                   {"of", subject.model},
                   {"what_if", itself ? Json(nullptr) : Json(subject.scheme)},
                   {"assumption", taken.empty() ? Json(nullptr) : Json(taken)},
                   {"equation", kv_equation(a, data.element_bytes)},
                   {"total_equation", kv_total_equation(a, row.batch, row.context, data.element_bytes)},
                   {"parameters", subject.parameters},
                   {"weights_bytes", row.weights_bytes},
                   {"scratch_bytes", row.scratch_bytes},
                   {"scratch_equation", scratch_equation(a, row.batch)},
                   {"source", sources[row.subject]}});
  }
  return out;
}

std::string kv_text(const KvCompareData& data, const std::vector<std::string>& sources) {
  std::vector<std::vector<std::string>> rows = {
      {"model", "batch", "context", "KV cache", "KV bytes", "a token", "weights", "scratch"}};
  for (const KvCompareRow& row : kv_compare_rows(data)) {
    rows.push_back({data.subjects[row.subject].label(), count(row.batch), count(row.context), both_units(row.bytes),
                    count(row.bytes), fmt::format("{} B", count(row.bytes_per_token)), binary(row.weights_bytes),
                    binary(row.scratch_bytes)});
  }
  return fmt::format("{}\n{}\n{}", equations(data, sources), text_table(rows), footnotes(data));
}

Json published_json() {
  Json out = Json::array();
  for (const PublishedModel& model : published_models()) {
    std::vector<std::string> names;
    for (std::string_view rest = model.names; !rest.empty();) {
      const size_t space = std::min(rest.find(' '), rest.size());
      names.emplace_back(rest.substr(0, space));
      rest.remove_prefix(std::min(space + 1, rest.size()));
    }
    const Architecture a = published_architecture(model);
    out.push_back({{"names", names},
                   {"source", model.source},
                   {"variant", variant_name(a)},
                   {"parameters", model.parameters},
                   {"kv_elements_per_token", model.kv_elements}});
  }
  return out;
}

std::string published_text() {
  std::vector<std::vector<std::string>> rows = {{"name", "parameters", "16-bit KV a token", "variant", "published as"}};
  for (const PublishedModel& model : published_models()) {
    rows.push_back({std::string(model.name()), count(model.parameters),
                    fmt::format("{} B", count(2 * model.kv_elements)), variant_name(published_architecture(model)),
                    std::string(model.source)});
  }
  return text_table(rows) + "\nNames in either case; --json has the other names of the same shapes.\n";
}

}  // namespace headscope::cli
