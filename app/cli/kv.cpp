#include <memory>

#include "app/cli/command.h"
#include "app/cli/model_access.h"
#include "app/cli/terminal.h"
#include "core/base/text.h"
#include "core/model/description.h"

namespace headscope::cli {
namespace {

struct Options {
  std::vector<std::string> models;
  std::string batch = "1";
  std::string context = "1k";
};

/// "8", or "128k" for 128 x 1,024.
int64_t parse_tokens(std::string text, std::string_view what) {
  const bool thousands = text.ends_with('k') || text.ends_with('K');
  if (thousands) text.pop_back();
  constexpr int64_t largest = int64_t{1} << 30;
  const int64_t value = parse_count(text, what);
  if (value < 1 || value > largest) throw UsageError(fmt::format("{}: {} is not within 1 to 2^30", what, value));
  return value * (thousands ? 1024 : 1);
}

std::vector<int64_t> parse_list(const std::string& text, std::string_view what) {
  std::vector<int64_t> values;
  for (const std::string& part : split_list(text, what)) values.push_back(parse_tokens(part, what));
  return values;
}

/// --dtype says how wide one number of the cache is; f32 when nothing is said.
int64_t element_bytes(const std::string& dtype) { return dtype == "bf16" || dtype == "f16" ? 2 : 4; }

void report(const Options& options, Context& context) {
  const auto batches = parse_list(options.batch, "--batch");
  const auto contexts = parse_list(options.context, "--context");
  const int64_t width = element_bytes(context.global.dtype);
  const std::string dtype = context.global.dtype == "auto" ? "f32" : context.global.dtype;
  Json json = Json::array();
  std::vector<std::vector<std::string>> rows = {{"model", "batch", "context", "bytes", "", "bytes per token"}};
  std::string equations;
  for (const std::string& path : options.models) {
    const auto checkpoint = open_checkpoint(path);
    const ModelDescription model = describe(*checkpoint);
    const int64_t per_token = kv_bytes_per_token(model.architecture, width);
    equations += fmt::format("{} ({}): {}\n", model.name, variant_name(model.architecture),
                             kv_equation(model.architecture, width));
    for (const int64_t batch : batches) {
      for (const int64_t tokens : contexts) {
        const int64_t bytes = kv_bytes(model.architecture, batch, tokens, width);
        json.push_back({{"model", model.name},
                        {"batch", batch},
                        {"context", tokens},
                        {"dtype", dtype},
                        {"bytes", bytes},
                        {"bytes_per_token", per_token}});
        rows.push_back({model.name, format_count(batch), format_count(tokens), format_count(bytes),
                        format_bytes(static_cast<uint64_t>(bytes)), format_count(per_token)});
      }
    }
  }
  context.output = context.global.json ? json_text(json) : equations + '\n' + text_table(rows);
}

}  // namespace

void add_kv(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("kv", "KV-cache memory by formula");
  command->add_option("MODEL", options->models, "Hugging Face folders or .h5 files")->required();
  command->add_option("--batch", options->batch, "Batch sizes: 1,8,64")->capture_default_str();
  command->add_option("--context", options->context, "Tokens in each sequence: 1k,8k,128k (1k = 1,024)")
      ->capture_default_str();
  command->footer("Example: headscope kv models/gpt2 --batch 1,8 --context 1k,8k --dtype bf16");
  command->callback([options, &action] { action = [options](Context& context) { report(*options, context); }; });
}

}  // namespace headscope::cli
