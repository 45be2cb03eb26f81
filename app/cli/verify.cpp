#include <algorithm>
#include <cmath>
#include <memory>

#include "app/cli/command.h"
#include "app/cli/model_access.h"
#include "app/cli/terminal.h"
#include "app/cli/verify_checks.h"
#include "core/arch/names.h"
#include "core/base/text.h"
#include "core/run/run.h"
#include "kernels/thread_pool.h"

namespace headscope::cli {
namespace {

/// Tokens for which it makes no difference how they come: with dynamic rope scaling, those before it begins.
int64_t most_verified_tokens(const Architecture& architecture) {
  int64_t most = architecture.context;
  if (architecture.position.scheme != PositionScheme::rope) return most;
  for (int64_t layer = 0; layer < architecture.layer_count(); ++layer) {
    const RopeScaling& scaling = architecture.rope_of(layer).scaling;
    if (scaling.kind == RopeScaling::Kind::dynamic) most = std::min(most, scaling.original_context);
  }
  return most;
}

std::vector<int32_t> verification_ids(const Model& model) {
  std::vector<int32_t> ids;
  if (model.has_tokenizer()) {
    ids = model.tokenizer().encode(built_in_prompt);
  } else {
    for (int64_t i = 0; i < 48; ++i) ids.push_back(static_cast<int32_t>(i * 7919 % model.architecture()->vocab_size));
  }
  ids.resize(std::min(ids.size(), static_cast<size_t>(most_verified_tokens(*model.architecture()))));
  return ids;
}

Check check_tokenizer(const Model& model) {
  if (!model.has_tokenizer()) return {"tokenizer", true, "none to check: the checkpoint has no usable tokenizer"};
  const auto ids = model.tokenizer().encode(built_in_prompt);
  const std::string back = model.tokenizer().decode(ids);
  return {"tokenizer", back == built_in_prompt, fmt::format("{} tokens decode to {}", ids.size(), quoted(back, 60))};
}

/// How far the logits of two passes may be apart, as a share of their range. In bf16 a pass over many tokens rounds
/// what enters each matrix, by some u = 2^-9 of it (2^-8 at most); a pass over few does not (kernels/linear.h). Each
/// layer adds two branches to the residual stream, each behind two matrices in a row: that is 4 roundings a layer,
/// which add up like the steps of a random walk, to sqrt(4 layers) u of the stream. Twice that is allowed, because a
/// softmax makes differences larger.
double allowed_difference(const Model& model) {
  if (model.dtype() != DType::bf16) return 1e-4;
  return 2 * std::ldexp(std::sqrt(4 * static_cast<double>(model.architecture()->layer_count())), -9);
}

/// Whether rounding to bf16 may send a token to other experts: then passes that round and passes that do not are not
/// comparable.
bool rounding_changes_experts(const Model& model) {
  return model.dtype() == DType::bf16 && !experts_text(*model.architecture()).empty();
}

/// The same ids in one pass, and in chunks of 7 with the last `alone` tokens one by one.
Check check_cache(const char* name, std::shared_ptr<const Model> model, std::span<const int32_t> ids, size_t alone,
                  const Progress& progress) {
  Run whole(model, {});
  whole.extend(ids, progress);
  RunOptions small_chunks;
  small_chunks.chunk = 7;
  Run chunked(model, small_chunks);
  const size_t head = ids.size() > alone ? ids.size() - alone : std::min<size_t>(1, ids.size());
  chunked.extend(ids.first(head), progress);
  for (size_t i = head; i < ids.size(); ++i) chunked.extend(ids.subspan(i, 1), progress);
  const auto logits = whole.last_logits();
  const auto [low, high] = std::minmax_element(logits.begin(), logits.end());
  double worst = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    const double difference = std::abs(logits[i] - chunked.last_logits()[i]);
    if (!(difference <= worst)) worst = std::isnan(difference) ? INFINITY : difference;
  }
  const double range = static_cast<double>(*high) - static_cast<double>(*low);
  const double relative = range > 0 || std::isnan(range) ? worst / range : worst;
  const double allowed = allowed_difference(*model);
  if (std::isnan(relative)) return {name, false, "the logits hold values that are not finite numbers"};
  std::string detail = fmt::format("logits differ by {:.1e} of their range, allowed {:.1e}", relative, allowed);
  if (model->dtype() == DType::bf16) {
    detail +=
        fmt::format(" for the rounding of bf16, 2 sqrt(4 x {} layers) 2^-9", model->architecture()->layer_count());
  }
  return {name, relative <= allowed, std::move(detail)};
}

void check_caches(std::shared_ptr<const Model> model, std::span<const int32_t> ids, const Progress& progress,
                  Findings& findings) {
  if (rounding_changes_experts(*model)) {
    findings.not_proved.push_back(
        "cached against uncached (in bf16, rounding may send a token to other experts; use --dtype f32)");
    return;
  }
  findings.checks.push_back(check_cache("cached = uncached", model, ids, 5, progress));
  findings.checks.push_back(check_cache("token by token = at once", model, ids, ids.size(), progress));
  findings.proved.push_back(
      fmt::format("{} tokens in chunks, one by one and at once have the same logits, as far as rounding to {} goes",
                  ids.size(), model->dtype() == DType::bf16 ? "bf16" : "f32"));
}

Check check_kv_bytes(const RunSnapshot& run) {
  const int64_t used = run.kv_used_bytes();
  const int64_t formula = kv_bytes(*run.architecture, 1, run.tokens(), bytes_of(run.element));
  return {"KV bytes = formula", used == formula,
          fmt::format("{} bytes in the cache, {} by formula for {} tokens", format_count(used), format_count(formula),
                      run.tokens())};
}

struct Options {
  std::string model;
  LoadOptions load;
  std::optional<std::string> memory_budget;
};

void check_model(const Options& options, const Context& context, const ParallelFor& workers, Findings& findings) {
  RunOptions run_options;
  run_options.query_bytes = query_bytes(options.memory_budget);
  const auto model = load_model(options.model, options.load, context);
  const Progress progress = context.progress();
  const auto ids = verification_ids(*model);
  Run run(model, run_options);
  run.extend(ids, progress);
  const RunSnapshot snapshot = run.snapshot();
  findings.checks.push_back(check_tokenizer(*model));
  check_caches(model, ids, progress, findings);
  check_maps(snapshot, workers, findings);
  check_keys(*model, progress, findings);
  if (const std::string_view alibi = alibi_name(model->architecture()->position); !alibi.empty()) {
    findings.proved.push_back(fmt::format("all that with ALiBi {}", alibi == "exact" ? "exact" : "rounded to bf16"));
  }
  findings.checks.push_back(check_kv_bytes(snapshot));
  findings.proved.push_back("the cache holds the bytes of the formula");
  check_published(options.model, *model, snapshot, findings);
  findings.not_proved.push_back(fmt::format("longer texts than these {} tokens", ids.size()));
}

std::string as_text(const std::vector<Check>& checks) {
  std::string out;
  for (const Check& check : checks)
    out += fmt::format("{}  {}: {}\n", check.passed ? "ok    " : "FAILED", check.name, check.detail);
  return out;
}

std::string as_json(const std::vector<Check>& checks) {
  Json json = Json::array();
  for (const Check& check : checks) {
    json.push_back({{"check", check.name}, {"passed", check.passed}, {"detail", check.detail}});
  }
  return json_text(json);
}

/// On failure the table, as text or as JSON, follows the sentence on standard error: standard output stays empty.
void report(const Findings& findings, Context& context) {
  const bool json = context.global.json;
  std::string table = json ? as_json(findings.checks) : as_text(findings.checks);
  std::vector<std::string> failed;
  for (const Check& check : findings.checks) {
    if (!check.passed) failed.push_back(check.name);
  }
  if (!failed.empty()) {
    table.pop_back();  // the sentence ends the line
    fail("{} of {} checks failed: {}\n{}", failed.size(), findings.checks.size(), listed(failed, failed.size()), table);
  }
  context.output = table;
  if (json) return;
  context.output += fmt::format("proved: {}; not proved: {}\n", fmt::join(findings.proved, "; "),
                                fmt::join(findings.not_proved, "; "));
}

void verify(Options options, Context& context) {
  if (options.model.empty() && options.load.exact_alibi) throw UsageError("--exact-alibi needs a MODEL to verify");
  if (options.model.empty() && options.memory_budget) throw UsageError("--memory-budget needs a MODEL to verify");
  if (options.model.empty() && options.load.linear) throw UsageError("--linear needs a MODEL to verify");
  options.load.dtype = DType::f32;  // unless --dtype says bf16, whose rounding would hide small mistakes
  Findings findings;
  const ThreadPool workers(worker_count(context));
  check_kernels(workers, findings);
  if (options.model.empty()) {
    findings.not_proved.push_back("anything about a model (none was given)");
  } else {
    check_model(options, context, workers, findings);
  }
  report(findings, context);
}

}  // namespace

void add_verify(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "verify", "Check the kernels of this machine and, if given, a model (in f32 unless --dtype is bf16)");
  command->add_option("MODEL", options->model, "Hugging Face folder or .h5 file");
  add_load_options(*command, options->load);
  add_budget_option(*command, options->memory_budget);
  command->footer("Example: headscope verify models/gpt2");
  command->callback([options, &action] { action = [options](Context& context) { verify(*options, context); }; });
}

}  // namespace headscope::cli
