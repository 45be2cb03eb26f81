#include <algorithm>
#include <cmath>
#include <memory>
#include <random>

#include "app/cli/command.h"
#include "app/cli/model_access.h"
#include "app/cli/terminal.h"
#include "core/base/text.h"
#include "core/data/tiles.h"
#include "core/data/workspace.h"
#include "core/run/run.h"
#include "kernels/kernels.h"
#include "kernels/thread_pool.h"

namespace headscope::cli {
namespace {

struct Check {
  std::string name;
  bool passed = false;
  std::string detail;
};

/// A random grouped attention problem and what one kernel makes of it.
struct KernelTrial {
  static constexpr int64_t q_heads = 4, kv_heads = 2, q_len = 77, kv_len = 141, dim = 24;

  explicit KernelTrial(uint64_t seed) {
    std::mt19937_64 random(seed);
    std::normal_distribution<float> normal(0, 2);
    for (auto* values : {&q, &k, &v}) std::generate(values->begin(), values->end(), [&] { return normal(random); });
    problem.q_heads = q_heads;
    problem.kv_heads = kv_heads;
    problem.q_len = q_len;
    problem.kv_len = kv_len;
    problem.key_dim = problem.value_dim = dim;
    problem.q = {q.data(), 0, q_len * dim, dim};
    problem.k = {k.data(), 0, kv_len * dim, dim};
    problem.v = {v.data(), 0, kv_len * dim, dim};
    problem.scale = 1 / std::sqrt(static_cast<float>(dim));
    problem.causal_offset = kv_len - q_len;
  }

  std::vector<float> output(const AttentionKernel& kernel, const ParallelFor& workers) const {
    std::vector<float> out(static_cast<size_t>(q_heads * q_len * dim));
    AttentionOutput output;
    output.out = {out.data(), 0, q_len * dim, dim};
    const Workspace workspace(kernel.forward_workspace(problem, workers.workers()));
    kernel.forward(problem, output, workspace.span(), workers);
    return out;
  }

  AttentionProblem problem;
  std::vector<float> q = std::vector<float>(static_cast<size_t>(q_heads * q_len * dim));
  std::vector<float> k = std::vector<float>(static_cast<size_t>(kv_heads * kv_len * dim));
  std::vector<float> v = std::vector<float>(static_cast<size_t>(kv_heads * kv_len * dim));
};

/// Largest difference relative to the largest reference value; NaN counts as infinite.
double relative_error(std::span<const float> values, std::span<const float> reference) {
  double worst = 0, largest = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double difference = std::abs(static_cast<double>(values[i]) - static_cast<double>(reference[i]));
    if (!(difference <= worst)) worst = std::isnan(difference) ? INFINITY : difference;
    largest = std::max(largest, std::abs(static_cast<double>(reference[i])));
  }
  return worst / largest;
}

void check_kernels(const ParallelFor& workers, std::vector<Check>& checks) {
  const KernelTrial trial(1);
  const auto kernels = attention_kernels();
  const auto reference = trial.output(kernels.front(), workers);
  for (const AttentionKernel& kernel : kernels.subspan(1)) {
    const double error = relative_error(trial.output(kernel, workers), reference);
    checks.push_back(
        {fmt::format("kernel {}", kernel.name), error <= 1e-5,
         fmt::format("largest difference from the double reference {:.1e} of the largest value, allowed 1e-5", error)});
  }
}

std::vector<int32_t> verification_ids(const Model& model) {
  std::vector<int32_t> ids;
  if (model.has_tokenizer()) {
    ids = model.tokenizer().encode(built_in_prompt);
  } else {
    for (int64_t i = 0; i < 48; ++i) ids.push_back(static_cast<int32_t>(i * 7919 % model.architecture()->vocab_size));
  }
  ids.resize(std::min(ids.size(), static_cast<size_t>(model.architecture()->context)));
  return ids;
}

Check check_tokenizer(const Model& model) {
  if (!model.has_tokenizer()) return {"tokenizer", true, "none to check: the checkpoint has no usable tokenizer"};
  const auto ids = model.tokenizer().encode(built_in_prompt);
  const std::string back = model.tokenizer().decode(ids);
  return {"tokenizer", back == built_in_prompt, fmt::format("{} tokens decode to {}", ids.size(), quoted(back, 60))};
}

/// How far the logits of two passes may be apart, as a share of their range. In bf16 a pass over several tokens rounds
/// what enters and what leaves each matrix, by up to u = 2^-9 of it; single tokens are not rounded
/// (core/run/bf16_linear.h). Each layer adds two branches to the residual stream, each behind two matrices in a row:
/// that is 8 roundings a layer, which add up like the steps of a random walk, to sqrt(8 layers) u of the stream. Twice
/// that is allowed, because a softmax makes differences larger.
double allowed_difference(const Model& model) {
  if (model.dtype() != DType::bf16) return 1e-4;
  return 2 * std::ldexp(std::sqrt(8 * static_cast<double>(model.architecture()->layer_count())), -9);
}

/// The same ids in one pass, and in small chunks with single tokens at the end.
Check check_cache(std::shared_ptr<const Model> model, std::span<const int32_t> ids, const Progress& progress) {
  Run whole(model, {});
  whole.extend(ids, progress);
  RunOptions small_chunks;
  small_chunks.chunk = 7;
  Run chunked(model, small_chunks);
  const size_t head = ids.size() > 5 ? ids.size() - 5 : ids.size();
  chunked.extend(ids.first(head), progress);
  for (size_t i = head; i < ids.size(); ++i) chunked.extend(ids.subspan(i, 1), progress);
  const auto logits = whole.last_logits();
  const auto [low, high] = std::minmax_element(logits.begin(), logits.end());
  double worst = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    const double difference = std::abs(logits[i] - chunked.last_logits()[i]);
    if (!(difference <= worst)) worst = std::isnan(difference) ? INFINITY : difference;
  }
  const double relative = worst / (*high - *low);
  const double allowed = allowed_difference(*model);
  std::string detail = fmt::format("logits differ by {:.1e} of their range, allowed {:.1e}", relative, allowed);
  if (model->dtype() == DType::bf16) detail += " for the rounding of bf16, 2 sqrt(8 layers) 2^-9";
  return {"cached = uncached", relative <= allowed, std::move(detail)};
}

Check check_rows(const RunSnapshot& run, const ParallelFor& workers) {
  double worst = 0;
  for (int64_t layer = 0; layer < run.architecture->layer_count(); ++layer) {
    for (int64_t head = 0; head < run.architecture->layers[static_cast<size_t>(layer)].q_heads; ++head) {
      const int64_t n = run.tokens();
      const Tile map = compute_tile(run, {layer, head, 0, n, 0, n}, workers);
      for (int64_t row = 0; row < n; ++row) {
        double sum = 0;
        for (int64_t key = 0; key < n; ++key) sum += map.cells[static_cast<size_t>(row * n + key)];
        if (!(std::abs(sum - 1) <= worst)) worst = std::isnan(sum) ? INFINITY : std::abs(sum - 1);
      }
    }
  }
  return {"attention rows sum to 1", worst <= 1e-5, fmt::format("worst row is off by {:.1e}, allowed 1e-5", worst)};
}

/// A window's cache keeps all its tokens, as those that left it are still looked at in maps; the formula ends there.
Check check_kv_bytes(const RunSnapshot& run) {
  const int64_t used = run.kv_used_bytes();
  const int64_t formula = kv_bytes_per_token(*run.architecture, 4) * run.tokens();
  const int64_t windowed = kv_bytes(*run.architecture, 1, run.tokens(), 4);
  std::string detail = fmt::format("{} bytes in the cache, {} by formula for {} tokens", format_count(used),
                                   format_count(formula), run.tokens());
  if (windowed < formula) detail += fmt::format("; {} would do for what its windows see", format_count(windowed));
  return {"KV bytes = formula", used == formula, std::move(detail)};
}

void check_model(const std::string& path, const Context& context, const ParallelFor& workers,
                 std::vector<Check>& checks) {
  const auto model = load_model(path, context);
  const Progress progress = context.progress();
  const auto ids = verification_ids(*model);
  Run run(model, {});
  run.extend(ids, progress);
  const RunSnapshot snapshot = run.snapshot();
  checks.push_back(check_tokenizer(*model));
  checks.push_back(check_cache(model, ids, progress));
  checks.push_back(check_rows(snapshot, workers));
  checks.push_back(check_kv_bytes(snapshot));
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

void verify(const std::string& model, Context& context) {
  std::vector<Check> checks;
  const ThreadPool workers(worker_count(context));
  check_kernels(workers, checks);
  if (!model.empty()) check_model(model, context, workers, checks);
  if (std::all_of(checks.begin(), checks.end(), [](const Check& check) { return check.passed; })) {
    context.output = context.global.json ? as_json(checks) : as_text(checks);
    return;
  }
  fail("verification failed:\n{}", as_text(checks));
}

}  // namespace

void add_verify(CLI::App& app, Action& action) {
  auto model = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("verify", "Check the kernels of this machine and, if given, a model");
  command->add_option("MODEL", *model, "Hugging Face folder or .h5 file");
  command->footer("Example: headscope verify models/gpt2");
  command->callback([model, &action] { action = [model](Context& context) { verify(*model, context); }; });
}

}  // namespace headscope::cli
