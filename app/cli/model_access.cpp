#include "app/cli/model_access.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>

#include <ATen/Parallel.h>

#include "app/cli/device.h"
#include "app/cli/terminal.h"
#include "core/arch/names.h"
#include "core/base/file.h"
#include "core/base/text.h"
#include "core/io/checkpoint.h"

namespace headscope::cli {
namespace {

constexpr size_t prompt_limit = 1 << 20;

/// Reads standard input to its end, looking at the stop token while it waits.
std::string read_standard_input(const std::stop_token& stop) {
  std::string text;
  std::array<char, 4096> block;
  while (text.size() <= prompt_limit) {
    if (stop.stop_requested()) throw Cancelled();
    pollfd input{STDIN_FILENO, POLLIN, 0};
    if (poll(&input, 1, 100) <= 0) continue;
    const ssize_t count = read(STDIN_FILENO, block.data(), block.size());
    if (count < 0) fail("standard input could not be read: {}", errno_text(errno));
    if (count == 0) break;
    text.append(block.data(), static_cast<size_t>(count));
  }
  return text;
}

int32_t parse_id(const std::string& text) {
  int64_t id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size() || id < 0 || id > INT32_MAX) {
    throw UsageError(fmt::format("--ids: {} is not a token id (numbers from 0 on, divided by commas)", quoted(text)));
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
  command.add_option("--cut", prompt.cut, "Run the first so many tokens of the prompt")->check(CLI::PositiveNumber);
  command.add_option("--generate", prompt.generate, "Tokens to generate")->check(CLI::Range(0, 1 << 30));
  command.add_flag("--ignore-eos", prompt.ignore_eos, "Go on after an end-of-text token");
  command.add_option("--zero", prompt.zero,
                     "Set the output of heads to 0: LAYER:HEAD, from 0; a list, may be repeated");
}

void check_dtype(const GlobalOptions& global) {
  if (global.dtype == "f16") {
    fail(
        "--dtype f16 is not available: this version of HeadScope computes in f32 or bf16; use --dtype f32 or --dtype "
        "bf16");
  }
}

std::vector<Intervention> parse_zeroed_heads(const std::vector<std::string>& texts) {
  std::vector<Intervention> interventions;
  std::vector<std::string> heads;
  for (const std::string& text : texts) {
    for (std::string& head : split_list(text, "--zero")) heads.push_back(std::move(head));
  }
  for (const std::string& text : heads) {
    const size_t colon = text.find(':');
    if (colon == std::string::npos)
      throw UsageError(fmt::format("--zero {} must be LAYER:HEAD, as in 2:5", quoted(text)));
    interventions.push_back({Intervention::Kind::zero_head, parse_count(text.substr(0, colon), "--zero layer"),
                             parse_count(text.substr(colon + 1), "--zero head")});
  }
  return interventions;
}

void add_load_options(CLI::App& command, LoadOptions& options) {
  command.add_flag("--exact-alibi", options.exact_alibi,
                   "ALiBi without the rounding to bf16 that Falcon was trained with");
  const auto choose = [&options](const std::string& name) {
    options.linear = name == "own" ? LinearMethod::own : LinearMethod::libtorch;
  };
  command
      .add_option_function<std::string>(
          "--linear", choose,
          "Who multiplies f32 weights with many tokens: own (the default) or libtorch; bench --only linear tells "
          "which is faster here")
      ->check(CLI::IsMember({"own", "libtorch"}));
}

void add_budget_option(CLI::App& command, std::optional<std::string>& budget) {
  command.add_option(
      "--memory-budget", budget,
      "How much may be kept so that maps can be shown: queries, and layer inputs that other queries are made from when "
      "they are looked at; as in 2GiB, 500MB or 0. Without it: all queries on the CPU, on a GPU half of what is free");
}

std::optional<int64_t> query_bytes(const std::optional<std::string>& budget) {
  if (!budget) return std::nullopt;
  return parse_bytes(*budget, "--memory-budget");
}

std::shared_ptr<const Model> load_model(const std::string& path, LoadOptions options, const Context& context) {
  check_dtype(context.global);
  options.device = chosen_device(context);
  if (context.global.dtype == "f32") options.dtype = DType::f32;
  if (context.global.dtype == "bf16") options.dtype = DType::bf16;
  use_threads(context.global.threads);
  const auto checkpoint = open_checkpoint(path);
  auto model = Model::load(*checkpoint, options, context.progress());
  print_notes(context, model->notes());
  return model;
}

int worker_count(const Context& context) {
  return context.global.threads > 0 ? context.global.threads : at::get_num_threads();
}

std::vector<int32_t> prompt_ids(const Model& model, const PromptOptions& prompt, std::stop_token stop) {
  std::vector<int32_t> ids;
  if (!prompt.ids.empty()) {
    for (const std::string& part : split_list(prompt.ids, "--ids")) ids.push_back(parse_id(part));
  } else {
    std::string text = prompt.text;
    if (!prompt.file.empty()) {
      text = prompt.file == "-" ? read_standard_input(stop) : read_small_file(prompt.file, prompt_limit + 1);
    }
    if (text.size() > prompt_limit) fail("the prompt is longer than 1 MB; give a shorter one");
    ids = model.tokenizer().encode(text);
  }
  if (ids.empty()) fail("the prompt is empty: give some text with --prompt, or token ids with --ids");
  if (prompt.cut > 0 && std::ssize(ids) > prompt.cut) ids.resize(static_cast<size_t>(prompt.cut));
  return ids;
}

void generate_tokens(Run& run, const PromptOptions& prompt, const SamplingOptions& sampling, const Context& context) {
  Sampler sampler(sampling);
  generate(run, sampler, prompt.generate, prompt.ignore_eos, context.progress());
  const int64_t limit = run.model().architecture()->context;
  if (run.tokens() == limit && run.tokens() - run.prompt_tokens() < prompt.generate) {
    const std::string note = fmt::format("generation stopped where the context of {} tokens was full",
                                         format_count(static_cast<uint64_t>(limit)));
    print_notes(context, std::span(&note, 1));
  }
}

std::string computed_by(const RunSnapshot& run) {
  const std::string_view alibi = alibi_name(run.architecture->position);
  return fmt::format("{}, {}, kernel {}{}{}{}{}", run.device, run.dtype, run.kernel, alibi.empty() ? "" : ", ALiBi ",
                     alibi, run.mla.empty() ? "" : ", MLA ", run.mla);
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

std::pair<double, double> parse_size(const std::string& text) {
  const size_t cross = text.find('x');
  if (cross == std::string::npos)
    throw UsageError(fmt::format("--size {} must be WIDTHxHEIGHT, as in 1280x800", quoted(text)));
  return {static_cast<double>(parse_count(text.substr(0, cross), "--size width")),
          static_cast<double>(parse_count(text.substr(cross + 1), "--size height"))};
}

}  // namespace headscope::cli
