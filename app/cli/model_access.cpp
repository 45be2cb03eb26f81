#include "app/cli/model_access.h"

#include <charconv>
#include <fstream>
#include <iostream>
#include <iterator>

#include <ATen/Parallel.h>

#include "app/cli/terminal.h"
#include "core/io/checkpoint.h"

namespace headscope::cli {
namespace {

constexpr size_t prompt_limit = 1 << 20;

std::string read_stream(std::istream& stream, const std::string& name) {
  std::string text(prompt_limit + 1, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(stream.gcount()));
  if (stream.bad()) fail("{} could not be read", name);
  return text;
}

std::string read_prompt_file(const std::string& path) {
  if (path == "-") return read_stream(std::cin, "standard input");
  std::ifstream stream(path, std::ios::binary);
  if (!stream) fail("prompt file {} could not be opened: {}", quoted(path), std::strerror(errno));
  return read_stream(stream, quoted(path));
}

void check_device_and_dtype(const GlobalOptions& global) {
  if (global.device == "cuda") {
    fail("--device cuda is not available: this version of HeadScope runs models on the CPU; use --device cpu");
  }
  if (global.dtype != "auto" && global.dtype != "f32") {
    fail("--dtype {} is not available yet: this version of HeadScope computes in f32; use --dtype f32", global.dtype);
  }
}

int32_t parse_id(const std::string& text) {
  int64_t id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size() || id < 0 || id > INT32_MAX) {
    throw UsageError(fmt::format("--ids: {} is not a token id (a number from 0 on)", quoted(text)));
  }
  return static_cast<int32_t>(id);
}

}  // namespace

void add_prompt_options(CLI::App& command, PromptOptions& prompt) {
  prompt.text_option = command.add_option("--prompt", prompt.text, "Text to run");
  auto* file = command.add_option("--prompt-file", prompt.file, "File with the text to run; - is standard input");
  auto* ids = command.add_option("--ids", prompt.ids, "Token ids to run: 1,2,3");
  prompt.text_option->excludes(file)->excludes(ids);
  file->excludes(ids);
}

std::vector<Intervention> parse_zeroed_heads(const std::vector<std::string>& texts) {
  std::vector<Intervention> interventions;
  for (const std::string& text : texts) {
    const size_t colon = text.find(':');
    if (colon == std::string::npos)
      throw UsageError(fmt::format("--zero {} must be LAYER:HEAD, as in 2:5", quoted(text)));
    interventions.push_back({Intervention::Kind::zero_head, parse_count(text.substr(0, colon), "--zero layer"),
                             parse_count(text.substr(colon + 1), "--zero head")});
  }
  return interventions;
}

std::shared_ptr<const Model> load_model(const std::string& path, const Context& context) {
  check_device_and_dtype(context.global);
  if (context.global.threads > 0) at::set_num_threads(context.global.threads);
  const auto checkpoint = open_checkpoint(path);
  auto model = Model::load(*checkpoint, context.progress());
  print_notes(context, model->notes());
  return model;
}

int worker_count(const Context& context) {
  return context.global.threads > 0 ? context.global.threads : at::get_num_threads();
}

std::vector<int32_t> prompt_ids(const Model& model, const PromptOptions& prompt) {
  std::vector<int32_t> ids;
  if (!prompt.ids.empty()) {
    for (const std::string& part : split_list(prompt.ids, "--ids")) ids.push_back(parse_id(part));
    return ids;
  }
  const std::string text = prompt.file.empty() ? prompt.text : read_prompt_file(prompt.file);
  if (text.size() > prompt_limit) fail("the prompt is longer than 1 MB; give a shorter one");
  ids = model.tokenizer().encode(text);
  if (ids.empty()) fail("the prompt is empty: give some text with --prompt, or token ids with --ids");
  return ids;
}

int64_t parse_count(std::string_view text, std::string_view what) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) {
    throw UsageError(fmt::format("{}: {} is not a whole number from 0 on", what, quoted(text)));
  }
  return value;
}

std::vector<std::string> split_list(std::string_view text, std::string_view what) {
  std::vector<std::string> parts;
  while (true) {
    const size_t comma = text.find(',');
    parts.emplace_back(text.substr(0, comma));
    if (parts.back().empty()) throw UsageError(fmt::format("{}: the list has an empty entry", what));
    if (comma == std::string_view::npos) return parts;
    text.remove_prefix(comma + 1);
  }
}

}  // namespace headscope::cli
