#include <cmath>
#include <fstream>
#include <iterator>
#include <memory>

#include "app/cli/command.h"
#include "app/cli/model_access.h"
#include "app/cli/terminal.h"
#include "core/base/atomic_file.h"
#include "core/base/file.h"
#include "core/base/text.h"
#include "core/run/generate.h"
#include "core/run/run.h"
#include "core/views/head.h"
#include "core/views/run_data.h"
#include "core/views/sharing.h"
#include "core/views/tokens.h"
#include "core/views/views.h"
#include "core/views/write.h"
#include "kernels/thread_pool.h"

namespace headscope::cli {
namespace {

struct Options {
  std::string model;
  PromptOptions prompt;
  LoadOptions load;
  std::optional<std::string> memory_budget;
  std::string view = "atlas";
  int64_t layer = 0;
  int64_t head = 0;
  std::string state;
  std::string size = "1280x800";
  double scale = 1;
  std::string theme = "dark";
  std::string out;
  bool summary = false;
  int64_t query = 0;
  int64_t key = 0;
  CLI::Option* query_option = nullptr;
  CLI::Option* key_option = nullptr;
  CLI::Option* layer_option = nullptr;
  CLI::Option* head_option = nullptr;
};

/// What a view is drawn from.
struct Scene {
  const RunSnapshot& run;
  const Options& options;
  const Json& state;
  Selection selection;
  Layout layout;
  const ParallelFor& workers;
  std::vector<std::string> notes;
  const Model& model;
  std::span<const float> logits;  ///< of the last position
};

template <class Data>
Data noted(Data data, const Scene& scene) {
  data.facts.notes.insert(data.facts.notes.end(), scene.notes.begin(), scene.notes.end());
  return data;
}

Figure draw_atlas(const Scene& scene) {
  return atlas(noted(atlas_data(scene.run), scene), atlas_state(scene.state), scene.selection, scene.layout);
}

Figure draw_map(const Scene& scene) {
  const MapState state = map_state(scene.state);
  const MapWindow window{scene.options.layer, scene.options.head, state.row_begin,
                         state.row_end,       state.key_begin,    state.key_end};
  const auto cells = static_cast<int64_t>(std::min(scene.layout.width, scene.layout.height) * scene.layout.scale);
  return map(noted(map_data(scene.run, window, cells, scene.workers), scene), state, scene.selection, scene.layout);
}

Figure draw_kv(const Scene& scene) {
  return kv(noted(kv_data(scene.run), scene), kv_state(scene.state), scene.selection, scene.layout);
}

Figure draw_head(const Scene& scene) {
  HeadData data =
      head_data(noted(atlas_data(scene.run), scene), *scene.run.architecture, scene.options.layer, scene.options.head);
  constexpr int64_t candidates = 8;
  for (const Candidate& next : top_candidates(scene.logits, candidates)) {
    const auto pieces =
        scene.model.has_tokenizer() ? scene.model.tokenizer().pieces({&next.id, 1}) : std::vector<std::string>();
    data.next.push_back({pieces.empty() ? fmt::format("{}", next.id) : pieces.front(), next.probability});
  }
  return head(data, head_state(scene.state), scene.selection, scene.layout);
}

/// A side panel's figure under the heading that a picture on its own needs.
template <class Draw>
Figure with_heading(const char* title, const Scene& scene, const Draw& draw) {
  RunFacts facts = run_facts(scene.run);
  facts.notes.insert(facts.notes.end(), scene.notes.begin(), scene.notes.end());
  Box body;
  Figure page = begin_figure(title, "", facts, scene.layout, body);
  Figure part = draw(Layout{body.width, body.height, scene.layout.scale, scene.layout.text});
  add_figure(page, part, {body.x, body.y});
  page.sentence = std::move(part.sentence);
  page.table = std::move(part.table);
  return page;
}

Figure draw_sharing(const Scene& scene) {
  return with_heading("Sharing", scene, [&](const Layout& layout) {
    return sharing({scene.run.architecture, ModelSlot::a}, scene.selection, layout);
  });
}

Figure draw_tokens(const Scene& scene) {
  return with_heading("Tokens", scene, [&](const Layout& layout) {
    auto flow = std::make_shared<TokenFlow>(layout.width - 2 * tokens_margin);
    for (size_t i = 0; i < scene.run.ids.size(); ++i) {
      const int32_t id = scene.run.ids[i];
      const bool named = i < scene.run.pieces.size();
      flow->append({id,
                    named ? scene.run.pieces[i] : fmt::format("{}", id),
                    named && scene.model.tokenizer().is_special(id),
                    {}},
                   layout.text);
    }
    return tokens({run_facts(scene.run), flow, scene.run.prompt_tokens, {}}, tokens_state(scene.state), scene.selection,
                  layout);
  });
}

/// One line a view; the names are those of views().
struct Drawer {
  std::string_view name;
  Figure (*draw)(const Scene&);
};
constexpr Drawer drawers[] = {{"atlas", draw_atlas}, {"map", draw_map},         {"kv", draw_kv},
                              {"head", draw_head},   {"sharing", draw_sharing}, {"tokens", draw_tokens}};

const Drawer& find_drawer(const std::string& view) {
  std::vector<std::string_view> names;
  for (const Drawer& drawer : drawers) {
    if (drawer.name == view) return drawer;
    names.push_back(drawer.name);
  }
  throw UsageError(fmt::format("--view {} is unknown; choose from {}", quoted(view), listed(names)));
}

/// A file, or the JSON itself.
Json read_state(const std::string& path) {
  if (path.empty()) return Json::object();
  if (path.front() == '{') return parse_json(path, "--state");
  constexpr size_t limit = 1 << 20;
  return parse_json(read_small_file(path, limit), path);
}

Selection selection_of(const Options& options) {
  Selection selection;
  if (options.layer_option->count() > 0) selection.layer = options.layer;
  if (options.head_option->count() > 0) selection.head = options.head;
  if (options.query_option->count() > 0) selection.query = options.query;
  if (options.key_option->count() > 0) selection.key = options.key;
  return selection;
}

/// Refuses a head that is not there before anything is run.
void check_selection(const Options& options, const Architecture& architecture) {
  if (options.layer >= architecture.layer_count()) {
    fail("there is no layer {}: the model has layers 0 to {}", options.layer, architecture.layer_count() - 1);
  }
  const int64_t heads = architecture.layers[static_cast<size_t>(options.layer)].q_heads;
  if (options.head >= heads) {
    fail("there is no head {} in layer {}: it has heads 0 to {}", options.head, options.layer, heads - 1);
  }
}

/// The same for tokens, when it is known how many there are.
void check_selected_tokens(const Selection& selection, int64_t tokens) {
  for (const std::optional<int64_t>& token : {selection.query, selection.key}) {
    if (token && *token >= tokens) fail("there is no token {}: the run has tokens 0 to {}", *token, tokens - 1);
  }
}

std::vector<int32_t> ids_to_render(const Model& model, const PromptOptions& prompt, const std::stop_token& stop,
                                   std::vector<std::string>& notes) {
  if (prompt.given()) return prompt_ids(model, prompt, stop);
  notes.emplace_back("built-in prompt");
  auto ids = model.tokenizer().encode(built_in_prompt);
  ids.resize(std::min(ids.size(), static_cast<size_t>(model.architecture()->context)));
  return ids;
}

std::string summary_of(const RunSnapshot& run, const Figure& figure, const std::vector<std::string>& notes) {
  return facts_table({
      {"prompt", fmt::format("{} tokens{}", format_count(static_cast<uint64_t>(run.prompt_tokens)),
                             notes.empty() ? "" : fmt::format(" ({})", listed(notes)))},
      {"generated", fmt::format("{} tokens", format_count(static_cast<uint64_t>(run.tokens() - run.prompt_tokens)))},
      {"KV cache", fmt::format("{} used", format_bytes(static_cast<uint64_t>(run.kv_used_bytes())))},
      {"computed", computed_by(run)},
      {"seen", figure.sentence},
  });
}

void render(const Options& options, Context& context) {
  const Drawer& drawer = find_drawer(options.view);
  const auto [width, height] = parse_size(options.size);
  check_picture_size(width, height, options.scale);
  check_figure_path(options.out);
  const Json state = read_state(options.state);
  const Theme theme = options.theme == "light" ? Theme::light : Theme::dark;

  const std::optional<int64_t> budget = query_bytes(options.memory_budget);
  { const AtomicFile can_be_written(options.out); }  // before the work, not after it
  const auto model = load_model(options.model, options.load, context);
  check_selection(options, *model->architecture());
  std::vector<std::string> notes;
  const auto ids = ids_to_render(*model, options.prompt, context.stop, notes);
  const Progress progress = context.progress();
  RunOptions run_options;
  run_options.query_bytes = budget;
  run_options.interventions = parse_zeroed_heads(options.prompt.zero);
  run_options.expected_tokens = static_cast<int64_t>(ids.size()) + options.prompt.generate;
  Run run(model, run_options);
  run.extend(ids, progress);
  run.end_prompt();
  generate_tokens(run, options.prompt, {}, context);

  const RunSnapshot snapshot = run.snapshot();
  const Selection selection = selection_of(options);
  check_selected_tokens(selection, snapshot.tokens());
  const ThreadPool workers(worker_count(context));
  const TextMeasurer measurer;
  const Scene scene{snapshot, options, state,  selection,        {width, height, options.scale, measurer},
                    workers,  notes,   *model, run.last_logits()};
  const Figure figure = drawer.draw(scene);
  write_figure(figure, options.out, theme, options.scale);
  if (options.summary) context.output = summary_of(snapshot, figure, notes);
  context.output += fmt::format("wrote {}\n", options.out);
}

}  // namespace

void add_render(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("render", "Draw a view as SVG, PNG or CSV");
  command->add_option("MODEL", options->model, "Hugging Face folder or .h5 file")->required();
  std::vector<std::string_view> names;
  for (const ViewInfo& view : views()) names.push_back(view.name);
  command->add_option("--view", options->view, fmt::format("One of {}", listed(names)))->capture_default_str();
  add_prompt_options(*command, options->prompt);
  add_load_options(*command, options->load);
  add_budget_option(*command, options->memory_budget);
  options->layer_option =
      command->add_option("--layer", options->layer, "Layer of the selected head")->check(CLI::NonNegativeNumber);
  options->head_option =
      command->add_option("--head", options->head, "The selected query head")->check(CLI::NonNegativeNumber);
  options->query_option =
      command->add_option("--query", options->query, "Token whose row is marked")->check(CLI::NonNegativeNumber);
  options->key_option =
      command->add_option("--key", options->key, "Token whose column is marked")->check(CLI::NonNegativeNumber);
  command->add_option("--state", options->state, "The view's state: a JSON file, or {...} itself");
  command->add_option("--size", options->size, "WIDTHxHEIGHT in px")->capture_default_str();
  command->add_option("--scale", options->scale, "Device pixels per px, 1 to 4")->capture_default_str();
  command->add_option("--theme", options->theme, "dark or light")
      ->check(CLI::IsMember({"dark", "light"}))
      ->capture_default_str();
  command->add_option("--out", options->out, "The .svg, .png or .csv file to write")->required();
  command->add_flag("--summary", options->summary, "Print what was run, too");
  command->footer(
      "Example: headscope render models/gpt2 --view map --layer 5 --head 1 --prompt \"The cat sat\" --out map.svg");
  command->callback([options, &action] { action = [options](Context& context) { render(*options, context); }; });
}

}  // namespace headscope::cli
