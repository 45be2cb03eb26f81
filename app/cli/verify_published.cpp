#include <algorithm>

#include "app/cli/verify_checks.h"
#include "core/arch/published.h"
#include "core/base/error.h"
#include "core/base/text.h"
#include "core/io/checkpoint.h"

namespace headscope::cli {
namespace {

std::string count(int64_t value) { return format_count(static_cast<uint64_t>(value)); }

/// What the place of the files says they are: "gpt2" of models/gpt2, of gpt2.h5 and of the Hugging Face cache's
/// models--openai-community--gpt2/snapshots/<hash>.
std::string claimed_name(const std::filesystem::path& path, const std::string& model) {
  constexpr std::string_view cached = "models--";
  for (const auto& part : std::filesystem::absolute(path).lexically_normal()) {
    const std::string name = part.string();
    if (name.starts_with(cached)) return name.substr(name.rfind("--") + 2);
  }
  return model.ends_with(".h5") ? model.substr(0, model.size() - 3) : model;
}

/// The model that the config was made from, as transformers writes it; empty when it is not said.
std::string origin_name(const std::filesystem::path& path) {
  const auto checkpoint = open_checkpoint(path);
  const Json& config = checkpoint->config();
  const auto found = config.find("_name_or_path");
  if (found == config.end() || !found->is_string()) return {};
  const std::string text = found->get<std::string>();
  return text.substr(text.rfind('/') + 1);  // npos + 1 is 0
}

std::string shape_text(const Architecture& architecture) {
  std::vector<std::string> parts;
  for (const auto& [what, value] : shape_facts(architecture)) parts.push_back(fmt::format("{} {}", what, value));
  return listed(parts, parts.size());
}

/// Nothing is known of this model: "no published facts for this shape", or only the shape is a published one. A config
/// that was made from a published one says so, which is no claim to be it.
void nothing_known(const std::filesystem::path& path, const Architecture& architecture, const PublishedModel* alike,
                   Findings& findings) {
  std::string detail;
  if (alike != nullptr) {
    detail =
        fmt::format("the shape of {}, but other {}", alike->name(), listed(shape_differences(architecture, *alike)));
    findings.not_proved.push_back(
        fmt::format("anything published (the shape of {}, but other parameters)", alike->name()));
  } else {
    const PublishedModel* from = published_of_name(origin_name(path));
    detail = "no published facts for this shape: ";
    detail += from == nullptr ? shape_text(architecture)
                              : fmt::format("its config was made from {}, but {}", from->name(),
                                            listed(shape_differences(architecture, *from)));
    findings.not_proved.push_back("anything published (nothing is built in for this shape)");
  }
  findings.checks.push_back({"published model", true, std::move(detail)});
}

/// Holds for every model that was recognised, because its parameters are part of that; said with the other numbers.
Check parameters_check(const Model& model, const PublishedModel& published) {
  return {"parameters = published", model.parameters() == published.parameters,
          fmt::format("{} in the file, {} published", count(model.parameters()), count(published.parameters))};
}

Check kv_check(const RunSnapshot& run, const PublishedModel& published) {
  const int64_t expected = published.kv_elements * bytes_of(run.element) * run.tokens();
  return {"KV bytes = published", run.kv_used_bytes() == expected,
          fmt::format("{} bytes in the cache of {} tokens, {} by the published {} numbers a token of {} bytes",
                      count(run.kv_used_bytes()), run.tokens(), count(expected), count(published.kv_elements),
                      bytes_of(run.element))};
}

/// Every text of the model's published tokenizer; the first that differs is shown.
Check ids_check(const Tokenizer& tokenizer, std::string_view name) {
  size_t texts = 0;
  for (const PublishedIds& one : published_ids()) {
    if (one.tokenizer != name) continue;
    const std::vector<int32_t> found = tokenizer.encode(one.text);
    if (found != one.ids) {
      return {"token ids = published", false,
              fmt::format("{} becomes {}, published as {} by the tokenizer of {}", quoted(one.text, 60), listed(found),
                          listed(one.ids), name)};
    }
    ++texts;
  }
  return {"token ids = published", true, fmt::format("{} texts have the ids of the tokenizer of {}", texts, name)};
}

void check_facts(const Model& model, const RunSnapshot& run, const PublishedModel& published, Findings& findings) {
  findings.checks.push_back(
      {"published model", true,
       fmt::format("the shape of {} ({}): {}", published.name(), published.source, shape_text(*model.architecture()))});
  findings.checks.push_back(parameters_check(model, published));
  findings.checks.push_back(kv_check(run, published));
  std::string proved = fmt::format("parameters and KV bytes are those published for {}", published.name());
  if (model.has_tokenizer() && !published.tokenizer.empty()) {
    findings.checks.push_back(ids_check(model.tokenizer(), published.tokenizer));
    proved += ", and so are token ids";
  } else {
    findings.not_proved.push_back("token ids (no published ones are built in for this model's tokenizer)");
  }
  findings.proved.push_back(std::move(proved));
}

}  // namespace

void check_published(const std::filesystem::path& path, const Model& model, const RunSnapshot& run,
                     Findings& findings) {
  const Architecture& architecture = *model.architecture();
  const std::string claimed = claimed_name(path, model.name());
  const PublishedModel* by_name = published_of_name(claimed);
  const auto [by_shape, same_parameters] = published_of_shape(architecture);
  const bool found = by_shape != nullptr && same_parameters;
  if (by_name != nullptr && !(found && by_name == by_shape)) {
    std::string detail = fmt::format("its name says {}, but its shape differs: {}", by_name->name(),
                                     listed(shape_differences(architecture, *by_name)));
    if (found) detail += fmt::format("; it has the shape of {}", by_shape->name());
    findings.checks.push_back({"published model", false, std::move(detail)});
  } else if (found) {
    check_facts(model, run, *by_shape, findings);
  } else {
    nothing_known(path, architecture, by_shape, findings);
  }
  findings.not_proved.push_back("that the weights are those its author trained (no published outputs are built in)");
}

}  // namespace headscope::cli
