#include <memory>

#include "app/cli/command.h"
#include "app/cli/kv_measure.h"
#include "app/cli/kv_models.h"
#include "app/cli/kv_report.h"
#include "app/cli/model_access.h"
#include "app/cli/terminal.h"
#include "core/arch/footprint.h"
#include "core/arch/what_if.h"
#include "core/base/atomic_file.h"
#include "core/base/text.h"
#include "core/views/kv_compare.h"
#include "core/views/write.h"

namespace headscope::cli {
namespace {

struct Options {
  std::vector<std::string> models;
  std::string batch = "1";
  std::string context = "1k";
  std::string what_if;
  bool list = false;
  bool measure = false;
  int64_t repeats = MeasureOptions().repeats;
  std::string memory_limit;
  std::string out;
  std::string plot;
  std::string size = "1280x800";
  double scale = 1;
  std::string theme = "dark";
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
  for (const std::string& part : split_list(text, what)) {
    const int64_t value = parse_tokens(part, what);
    if (std::find(values.begin(), values.end(), value) == values.end()) values.push_back(value);
  }
  return values;
}

/// --dtype says how wide one number of the cache is; f32 when nothing is said.
int64_t element_bytes(const std::string& dtype) { return dtype == "bf16" || dtype == "f16" ? 2 : 4; }

/// "all", or a list of schemes; before any model is looked for, so that a mistyped one is told first.
struct WhatIf {
  bool all = false;
  std::vector<Scheme> schemes;
};

WhatIf parse_what_if(const std::string& text) {
  WhatIf out;
  if (text.empty()) return out;
  for (const std::string& part : split_list(text, "--what-if")) {
    if (part == "all" || part == "ALL") {
      out.all = true;
    } else {
      out.schemes.push_back(parse_scheme(part));
    }
  }
  return out;
}

/// The model with another scheme. One that does not fit is an error, but beside other models a note.
std::optional<Architecture> fitting(const KvModel& model, const Architecture& real, const Scheme& scheme,
                                    bool one_of_several, std::vector<std::string>& notes) {
  try {
    return what_if(real, scheme);
  } catch (const Error& error) {
    const std::string why = fmt::format("{}: {}", model.name, error.what());
    if (!one_of_several) fail("{}", why);
    notes.push_back(why);
    return std::nullopt;
  }
}

/// The model itself and, below it, what it would be; `checkpoints` gets the path of each subject's weights, or nothing.
/// Returns notes on what does not fit.
std::vector<std::string> add_subjects(const KvModel& model, const WhatIf& what_ifs, bool one_of_several,
                                      KvCompareData& data, std::vector<std::string>& checkpoints) {
  std::vector<std::string> notes;
  const auto real = std::make_shared<const Architecture>(model.architecture);
  data.subjects.push_back({model.name, "", false, real, model.parameters});
  checkpoints.push_back(model.checkpoint.string());
  std::vector<Scheme> schemes = what_ifs.all ? usual_schemes(*real) : std::vector<Scheme>();
  for (const Scheme& asked : what_ifs.schemes) {
    const auto same = [&](const Scheme& other) { return other.name == asked.name; };
    if (std::none_of(schemes.begin(), schemes.end(), same)) schemes.push_back(asked);
  }
  for (const Scheme& scheme : schemes) {
    std::optional<Architecture> made = fitting(model, *real, scheme, one_of_several, notes);
    if (!made) continue;
    auto other = std::make_shared<const Architecture>(std::move(*made));
    const bool same = same_cache(*real, *other);
    const int64_t parameters = same ? model.parameters : parameters_of(*other);
    data.subjects.push_back({model.name, scheme.name, !same, std::move(other), parameters});
    checkpoints.push_back(same ? model.checkpoint.string() : "");
  }
  return notes;
}

KvPlot plot_of(const Options& options, const KvCompareData& data) {
  if (options.plot.empty() || options.plot == "speed") return default_kv_plot(data);
  if (options.plot == "batch" && data.batches.size() < 2)
    throw UsageError("--plot batch needs several batches, as in --batch 1,8,64");
  if (options.plot == "context" && data.contexts.size() < 2)
    throw UsageError("--plot context needs several contexts, as in --context 1k,8k,128k");
  return options.plot == "batch" ? KvPlot::batch : options.plot == "context" ? KvPlot::context : KvPlot::token;
}

/// Measured speeds where there are any, unless another plot is asked for.
bool plots_speed(const Options& options, const KvCompareData& data) {
  if (options.plot == "speed") return true;
  return options.measure && options.plot.empty() && (data.batches.size() > 1 || data.contexts.size() > 1);
}

void write_plot(const Options& options, const KvCompareData& data, const std::optional<Measured>& measured) {
  const auto [width, height] = parse_size(options.size);
  const TextMeasurer measurer;
  const Layout layout{width, height, options.scale, measurer};
  Figure figure = measured && plots_speed(options, data) ? kv_speed(measured->speed, layout)
                                                         : kv_compare(data, plot_of(options, data), layout);
  if (measured) figure.table = kv_speed_table(measured->speed);
  write_figure(figure, options.out, options.theme == "light" ? Theme::light : Theme::dark, options.scale);
}

/// What can be refused before models are looked for.
void check_picture(const Options& options, const KvCompareData& data) {
  if (options.out.empty()) {
    if (!options.plot.empty()) throw UsageError("--plot needs --out F.svg, F.png or F.csv");
    return;
  }
  if (options.plot == "speed" && !options.measure) throw UsageError("--plot speed needs --measure");
  if (options.plot == "speed" && data.batches.size() < 2 && data.contexts.size() < 2) {
    throw UsageError("--plot speed needs several batches or contexts, as in --batch 1,4,16");
  }
  const auto [width, height] = parse_size(options.size);
  check_picture_size(width, height, options.scale);
  check_figure_path(options.out);
  (void)plot_of(options, data);
  const AtomicFile can_be_written(options.out);
}

MeasureOptions measure_options(const Options& options, const KvCompareData& data) {
  MeasureOptions out;
  if (!options.measure) {
    if (options.repeats != out.repeats) throw UsageError("--repeats needs --measure");
    if (!options.memory_limit.empty()) throw UsageError("--memory-limit needs --measure");
    return out;
  }
  out.batches = data.batches;
  out.contexts = data.contexts;
  if (options.repeats < 1) throw UsageError(fmt::format("--repeats must be at least 1, but is {}", options.repeats));
  out.repeats = options.repeats;
  if (options.memory_limit.empty()) return out;
  out.memory_limit = parse_bytes(options.memory_limit, "--memory-limit");
  if (*out.memory_limit == 0) throw UsageError("--memory-limit must be above 0");
  out.memory_limit_text = options.memory_limit;
  return out;
}

std::vector<MeasureSubject> with_weights(const KvCompareData& data, const std::vector<std::string>& checkpoints) {
  std::vector<MeasureSubject> out;
  for (size_t i = 0; i < data.subjects.size(); ++i) out.push_back({data.subjects[i], checkpoints[i]});
  return out;
}

void report(const Options& options, Context& context) {
  if (options.list) {
    context.output = context.global.json ? json_text(published_json()) : published_text();
    return;
  }
  if (options.models.empty())
    throw UsageError("kv needs a MODEL: a folder, a .h5 file, a config.json or a name of headscope kv --list");
  KvCompareData data;
  data.batches = parse_list(options.batch, "--batch");
  data.contexts = parse_list(options.context, "--context");
  data.element_bytes = element_bytes(context.global.dtype);
  data.dtype = context.global.dtype == "auto" ? "f32" : context.global.dtype;
  const WhatIf what_ifs = parse_what_if(options.what_if);
  check_picture(options, data);
  const MeasureOptions measuring = measure_options(options, data);
  std::vector<std::string> sources, checkpoints;
  for (const std::string& given : options.models) {
    const KvModel model = find_kv_model(given);
    print_notes(context, model.notes);
    print_notes(context, add_subjects(model, what_ifs, options.models.size() > 1, data, checkpoints));
    sources.resize(data.subjects.size(), model.source);
  }
  std::optional<Measured> measured;
  if (options.measure) measured = measure(with_weights(data, checkpoints), measuring, context);
  if (context.global.json) {
    Json json = kv_json(data, sources);
    for (size_t row = 0; measured && row < json.size(); ++row) json[row]["measured"] = measured_json(*measured, row);
    context.output = json_text(json);
  } else {
    context.output = kv_text(data, sources) + (measured ? "\n" + measured_text(*measured) : "");
  }
  if (options.out.empty()) return;
  write_plot(options, data, measured);
  if (!context.global.json) context.output += fmt::format("wrote {}\n", options.out);
}

}  // namespace

void add_kv(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("kv", "KV-cache memory by formula");
  command->add_option("MODEL", options->models,
                      "Folders, .h5 files, config.json files, or names of published models (--list)");
  command->add_option("--batch", options->batch, "Batch sizes: 1,8,64")->capture_default_str();
  command->add_option("--context", options->context, "Tokens in each sequence: 1k,8k,128k (1k = 1,024)")
      ->capture_default_str();
  command->add_option("--what-if", options->what_if,
                      "Also the same model shared otherwise: all, or mha, gqa-8, mqa, mlkv-4x3, cla-2, sharedkv, slim, "
                      "mla, or joined as sharedkv-gqa-2; a list");
  command->add_flag("--list", options->list, "List the published models instead");
  command->add_flag(
      "--measure", options->measure,
      "Allocate the caches and decode from them, too: bytes held and read, tokens/s; random weights where "
      "there is no checkpoint");
  command->add_option("--repeats", options->repeats, "Times that --measure measures each row; medians are kept")
      ->capture_default_str();
  command->add_option("--memory-limit", options->memory_limit,
                      "With --measure, find the largest batch of a process below this size: 2GiB, 500MB");
  command->add_option("--out", options->out, "Draw a comparison to a .svg, .png or .csv file");
  command
      ->add_option("--plot", options->plot,
                   "What --out draws: memory over batch or context, bytes of a token, or measured speed")
      ->check(CLI::IsMember({"batch", "context", "token", "speed"}));
  command->add_option("--size", options->size, "WIDTHxHEIGHT in px of --out")->capture_default_str();
  command->add_option("--scale", options->scale, "Device pixels per px, 1 to 4")->capture_default_str();
  command->add_option("--theme", options->theme, "dark or light")
      ->check(CLI::IsMember({"dark", "light"}))
      ->capture_default_str();
  command->footer(
      "Example: headscope kv gpt2 models/mine --what-if mqa,mlkv-4x3 --batch 1,8,64 --context 2k --dtype f16 --out "
      "kv.svg");
  command->callback([options, &action] { action = [options](Context& context) { report(*options, context); }; });
}

}  // namespace headscope::cli
