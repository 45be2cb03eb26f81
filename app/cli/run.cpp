#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include "app/cli/command.h"
#include "app/cli/model_access.h"
#include "app/cli/run_file.h"
#include "app/cli/terminal.h"
#include "core/arch/names.h"
#include "core/base/atomic_file.h"
#include "core/base/text.h"
#include "core/run/generate.h"
#include "kernels/thread_pool.h"

namespace headscope::cli {
namespace {

struct Options {
  std::string model;
  PromptOptions prompt;
  LoadOptions load;
  std::string save;
  std::string out;
  int64_t top = 5;
  std::string logits;
  int64_t chunk = RunOptions().chunk;
  std::string mla = "absorbed";
  std::optional<std::string> memory_budget;
  SamplingOptions sampling;
};

/// "last", "all" or nothing, or "a:b" (positions a to b - 1).
LogitsWanted parse_logits(const std::string& text) {
  if (text == "last") return {};
  if (text == "all" || text.empty()) return LogitsWanted::all();
  const size_t colon = text.find(':');
  if (colon == std::string::npos) throw UsageError(fmt::format("--logits {} must be last, all or a:b", quoted(text)));
  const LogitsWanted wanted{parse_count(text.substr(0, colon), "--logits"),
                            parse_count(text.substr(colon + 1), "--logits")};
  if (wanted.begin >= wanted.end) throw UsageError(fmt::format("--logits {} is an empty range", quoted(text)));
  return wanted;
}

RunOptions run_options(const Options& options, const LogitsWanted& logits, std::optional<int64_t> budget,
                       size_t prompt_tokens) {
  RunOptions wanted;
  wanted.logits = logits;
  wanted.chunk = options.chunk;
  wanted.query_bytes = budget;
  if (options.mla == "naive") wanted.mla.form = MlaForm::naive;
  wanted.interventions = parse_zeroed_heads(options.prompt.zero);
  wanted.expected_tokens = static_cast<int64_t>(prompt_tokens) + options.prompt.generate;
  return wanted;
}

/// Wall-clock seconds of the stages of a run.
class Stopwatch {
 public:
  /// Seconds since the last call, or since the start.
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    return std::chrono::duration<double>(now - std::exchange(last_, now)).count();
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

struct Seconds {
  double load = 0, prompt = 0, generate = 0;
};

std::string token_text(const Model& model, int32_t id) {
  return model.has_tokenizer() ? model.tokenizer().pieces(std::span(&id, 1)).front() : std::string();
}

Json as_json(const Run& run, const RunSnapshot& snapshot, const Options& options, const Seconds& seconds) {
  const Model& model = run.model();
  Json json;
  json["model"] = snapshot.model;
  json["ids"] = snapshot.ids;
  json["prompt_tokens"] = snapshot.prompt_tokens;
  json["text"] = model.has_tokenizer() ? model.tokenizer().decode(snapshot.ids) : std::string();
  json["pieces"] = snapshot.pieces;
  json["top"] = Json::array();
  for (const Candidate& candidate : top_candidates(run.last_logits(), options.top)) {
    json["top"].push_back(
        {{"id", candidate.id}, {"text", token_text(model, candidate.id)}, {"probability", candidate.probability}});
  }
  json["kv_bytes_used"] = snapshot.kv_bytes_by_layer(&KvRows::used_bytes);
  json["kv_bytes_allocated"] = snapshot.kv_bytes_by_layer(&KvRows::allocated_bytes);
  json["interventions"] = snapshot.interventions;
  json["device"] = snapshot.device;
  json["dtype"] = snapshot.dtype;
  json["kernel"] = snapshot.kernel;
  json["linear"] = snapshot.linear;
  const std::string_view alibi = alibi_name(snapshot.architecture->position);
  if (!alibi.empty()) json["alibi"] = alibi;
  if (!snapshot.mla.empty()) json["mla"] = snapshot.mla;
  json["threads"] = snapshot.threads;
  json["sampling"] = {{"temperature", options.sampling.temperature},
                      {"top_k", options.sampling.top_k},
                      {"top_p", options.sampling.top_p},
                      {"seed", options.sampling.seed}};
  json["seconds"] = {{"load", seconds.load}, {"prompt", seconds.prompt}, {"generate", seconds.generate}};
  json["version"] = snapshot.version;
  return json;
}

/// Allocated is more than used: buffers have room to grow, and those of windows for what is written at once.
std::string cache_text(const RunSnapshot& snapshot) {
  const auto bytes = [](int64_t value) { return format_bytes(static_cast<uint64_t>(value)); };
  const auto& stores = snapshot.architecture->kv_stores;
  const bool windows = std::any_of(stores.begin(), stores.end(), [](const KvStore& store) { return store.window > 0; });
  return fmt::format("{} used, {} allocated{}", bytes(snapshot.kv_used_bytes()), bytes(snapshot.kv_allocated_bytes()),
                     windows ? " (a sliding window keeps its tokens and has room for those written at once)" : "");
}

std::string budget_text(const RunSnapshot& snapshot) {
  const auto kept = std::count_if(snapshot.layers.begin(), snapshot.layers.end(),
                                  [](const LayerRows& layer) { return layer.q.buffer != nullptr; });
  return fmt::format("queries of {} of {} layers are kept, the others are made again when they are looked at\n", kept,
                     snapshot.layers.size());
}

std::string as_text(const Run& run, const RunSnapshot& snapshot, int64_t top) {
  const Model& model = run.model();
  std::string out;
  if (model.has_tokenizer()) {
    out += printable(model.tokenizer().decode(snapshot.ids)) + "\n\n";
  } else if (const auto fresh = std::span(snapshot.ids).subspan(static_cast<size_t>(snapshot.prompt_tokens));
             !fresh.empty()) {
    out += fmt::format("generated {}\n\n", fmt::join(fresh, ","));
  }
  out += facts_table({
      {"tokens",
       fmt::format("{} prompt + {} generated", snapshot.prompt_tokens, snapshot.tokens() - snapshot.prompt_tokens)},
      {"KV cache", cache_text(snapshot)},
      {"computed", computed_by(snapshot)},
  });
  if (snapshot.query_source) out += budget_text(snapshot);
  if (!snapshot.interventions.empty()) out += fmt::format("with {}\n", listed(snapshot.interventions));
  const auto candidates = top_candidates(run.last_logits(), top);
  if (candidates.empty()) return top == 0 ? out : out + "\nthe logits hold values that are not finite numbers\n";
  std::vector<std::vector<std::string>> rows = {{"next token", "id", "probability"}};
  for (const Candidate& candidate : candidates) {
    rows.push_back({quoted(token_text(model, candidate.id)), std::to_string(candidate.id),
                    fmt::format("{:.4f}", candidate.probability)});
  }
  return out + '\n' + text_table(rows);
}

void run_prompt(Options options, Context& context) {
  const auto parts = parse_save_list(options.save);
  if (!parts.empty() && options.out.empty()) throw UsageError("--save needs --out FILE.h5 to write to");
  if (!options.prompt.given()) throw UsageError("run needs --prompt TEXT, --prompt-file FILE or --ids 1,2,3");
  if (!options.out.empty()) const AtomicFile can_be_written(options.out);  // before the work, not after it
  if (options.chunk < 1) throw UsageError(fmt::format("--chunk must be at least 1, but is {}", options.chunk));
  options.sampling.seed = context.global.seed;
  check(options.sampling);
  const std::optional<int64_t> budget = query_bytes(options.memory_budget);
  const LogitsWanted asked = parse_logits(options.logits);
  const LogitsWanted logits = parts.contains("logits") ? asked : LogitsWanted{};

  Stopwatch watch;
  Seconds seconds;
  const auto model = load_model(options.model, options.load, context);
  const auto ids = prompt_ids(*model, options.prompt, context.stop);
  const Progress progress = context.progress();
  const RunOptions wanted = run_options(options, logits, budget, ids.size());
  if (!options.out.empty()) check_disk(*model->architecture(), wanted, parts, options.out);
  Run run(model, wanted);
  seconds.load = watch.lap();
  run.extend(ids, progress);
  run.end_prompt();
  seconds.prompt = watch.lap();
  generate_tokens(run, options.prompt, options.sampling, context);
  seconds.generate = watch.lap();
  const RunSnapshot snapshot = run.snapshot();
  if (!options.out.empty()) {
    write_run_file(run, snapshot, parts, options.sampling, options.out, ThreadPool(worker_count(context)), progress);
  }
  context.output =
      context.global.json ? json_text(as_json(run, snapshot, options, seconds)) : as_text(run, snapshot, options.top);
  if (!options.out.empty() && !context.global.json) {
    context.output += fmt::format("\nwrote {} ({})\n", options.out, parts.empty() ? "tokens" : listed(parts));
  }
}

}  // namespace

void add_run(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("run", "Run a prompt, generate, save what happened");
  command->add_option("MODEL", options->model, "Hugging Face folder or .h5 file")->required();
  add_prompt_options(*command, options->prompt);
  add_load_options(*command, options->load);
  add_budget_option(*command, options->memory_budget);
  command->add_option("--save", options->save,
                      "What to save, a list of logits,attention,stats,q,k,v,lse,kv (qk = q,k)");
  command->add_option("--out", options->out, "The .h5 file to save to");
  command->add_option("--top", options->top, "How many of the likeliest next tokens to print")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--logits", options->logits,
                      "Which logits to save: last, all (without this option) or positions a:b");
  command
      ->add_option(
          "--chunk", options->chunk,
          "Most tokens of the prompt that go through the layers at once: fewer need less memory and more time; "
          "with sliding windows at most the largest, or 256")
      ->capture_default_str();
  command
      ->add_option(
          "--mla", options->mla,
          "Multi-head latent attention from the latents as they are, but for many tokens, where that is less work, "
          "from keys and values of every head made from them (absorbed); or always from these (naive)")
      ->check(CLI::IsMember({"absorbed", "naive"}))
      ->capture_default_str();
  command->add_option("--temperature", options->sampling.temperature, "Sample at this temperature; greedy without it");
  command->add_option("--top-k", options->sampling.top_k, "Sample from the K likeliest only; 0: all");
  command->add_option("--top-p", options->sampling.top_p, "Sample from the likeliest that make up this probability");
  command->footer(
      "Example: headscope run models/gpt2 --prompt \"The cat sat\" --generate 20 --save attention,stats --out cat.h5");
  command->callback([options, &action] { action = [options](Context& context) { run_prompt(*options, context); }; });
}

}  // namespace headscope::cli
