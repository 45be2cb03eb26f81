#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "app/cli/command.h"
#include "core/model/model.h"
#include "core/run/generate.h"
#include "core/run/run.h"

namespace headscope::cli {

/// What is run when no prompt is given to a command that can do without.
inline constexpr std::string_view built_in_prompt =
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, Lily saw a "
    "big, red ball.";

/// What to run, as the command line gives it: at most one of the three prompts.
struct PromptOptions {
  std::string text;
  std::string file;  ///< "-" reads standard input
  std::string ids;   ///< "1,2,3"
  int64_t cut = 0;   ///< keep the first so many tokens; 0: all
  int64_t generate = 0;
  bool ignore_eos = false;
  std::vector<std::string> zero;  ///< "2:5"
  CLI::Option* text_option = nullptr;

  bool given() const { return text_option->count() > 0 || !file.empty() || !ids.empty(); }
};

void add_prompt_options(CLI::App& command, PromptOptions& prompt);

/// "2:5" (layer:head, from 0), possibly several, as interventions.
std::vector<Intervention> parse_zeroed_heads(const std::vector<std::string>& texts);

/// Refuses a type that this version cannot compute in, by name. It only matters to commands that read tensors.
void check_dtype(const GlobalOptions&);

/// Adds what LoadOptions has. The options must outlive the parsing.
void add_load_options(CLI::App& command, LoadOptions&);

/// Adds --memory-budget. The text must outlive the parsing.
void add_budget_option(CLI::App& command, std::optional<std::string>& budget);

/// The option as RunOptions::query_bytes has it; throws UsageError for what is no size.
std::optional<int64_t> query_bytes(const std::optional<std::string>& budget);

/// Opens and loads a model for a run, in the global options' dtype, which it checks: sets the number of threads, prints
/// the checkpoint's notes, and why the device is the CPU where another could be expected.
std::shared_ptr<const Model> load_model(const std::string& path, LoadOptions, const Context&);

/// Threads for kernels outside LibTorch: --threads, or as many as the machine has.
int worker_count(const Context&);

/// Token ids of the prompt, cut when that was asked for. Throws Error for an empty prompt, text that is not UTF-8, or
/// more than 1 MB; Cancelled when a stop is requested while standard input is read.
std::vector<int32_t> prompt_ids(const Model&, const PromptOptions&, std::stop_token);

/// Generates what the options ask for; a note tells when the context was full before that.
void generate_tokens(Run&, const PromptOptions&, const SamplingOptions&, const Context&);

/// "cpu, f32, kernel cpu/AVX2", and how ALiBi was computed.
std::string computed_by(const RunSnapshot&);

/// A non-negative integer; throws UsageError naming `what`.
int64_t parse_count(std::string_view text, std::string_view what);

/// "1,2,3" as parts, none empty; throws UsageError naming `what`.
std::vector<std::string> split_list(std::string_view text, std::string_view what);

/// The two numbers of "1280x800" (--size); throws UsageError for another form.
std::pair<double, double> parse_size(const std::string& text);

}  // namespace headscope::cli
