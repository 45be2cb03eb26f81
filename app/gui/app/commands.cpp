#include "app/gui/app/commands.h"

#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/views/atlas_reading.h"
#include "core/views/views.h"

namespace headscope::gui {
namespace {

using Call = CommandCall;

// --- when a command can be used ------------------------------------------------------------------------------------

std::string always(const App&) { return {}; }
std::string needs_model(const App& app) { return app.data().model ? "" : "No model is open in this slot."; }
std::string needs_opened(const App& app) { return app.data().opening.empty() ? needs_model(app) : ""; }
std::string needs_run(const App& app) { return app.data().run ? "" : "Nothing has been run in this slot."; }
std::string needs_job(const App& app) { return app.status().busy ? "" : "Nothing is running."; }
std::string needs_head(const App& app) {
  const auto& model = app.data().model;
  return model && has_head(*model->architecture(), app.state.slot().selection) ? "" : "No head is selected.";
}

// --- what commands do ----------------------------------------------------------------------------------------------

void open(App& app, Shell& shell, const Call& call) {
  call.allow(2, {"path", "slot"});
  if (!call.text("path", 0)) return shell.show_browser(call.slot("slot", 1, app.state.active));
  app.open(call.slot("slot", 1, app.state.active), *call.text("path", 0));
}
void open_b(App& app, Shell& shell, const Call&) {
  app.state.active = ModelSlot::b;
  shell.show_browser(ModelSlot::b);
}

void close(App& app, Shell&, const Call& call) {
  call.allow(1, {"slot"});
  app.close(call.slot("slot", 0, app.state.active));
}

void prompt(App& app, Shell& shell, const Call& call) {
  if (call.rest.empty()) return shell.edit_prompt();
  const bool one_word = call.rest.front() == '"' && call.words.size() == 1 && call.named.empty();
  app.set_prompt(app.state.active, one_word ? call.words.front() : call.rest);
}

void prompt_file(App& app, Shell&, const Call& call) {
  call.allow(1, {"path"});
  app.set_prompt(app.state.active, read_small_file(call.needed("path", 0, "prompt_file text.txt"), 1 << 20));
}

void run(App& app, Shell&, const Call& call) {
  call.allow(0, {"cut"});
  if (const auto cut = call.number("cut")) app.state.slot().cut = *cut;
  app.run(app.state.active);
}

void next(App& app, Shell&, const Call&) { app.generate(app.state.active, 1); }

void generate(App& app, Shell&, const Call& call) {
  call.allow(1, {"count"});
  app.generate(app.state.active, call.whole("count", 0, {1, 1 << 20}).value_or(app.state.generation.count));
}

void sampling(App& app, Shell&, const Call& call) {
  call.allow(0, {"count", "temperature", "top_k", "top_p", "seed", "ignore_eos"});
  GenerationState wanted = app.state.generation;
  if (const auto count = call.whole("count", by_name, {1, 1 << 20})) wanted.count = *count;
  if (const auto temperature = call.real("temperature", by_name, {0, 1000})) wanted.temperature = *temperature;
  if (const auto top_k = call.whole("top_k", by_name, {0, INT32_MAX})) wanted.top_k = *top_k;
  if (const auto top_p = call.real("top_p", by_name, {1e-6, 1})) wanted.top_p = *top_p;
  if (const auto seed = call.whole("seed", by_name, {0, INT64_MAX})) wanted.seed = static_cast<uint64_t>(*seed);
  if (const auto ignore = call.whole("ignore_eos", by_name, {0, 1})) wanted.ignore_eos = *ignore == 1;
  app.state.generation = wanted;
}

void cancel(App& app, Shell&, const Call&) { app.cancel(); }

void select(App& app, Shell&, const Call& call) {
  call.allow(0, {"slot", "layer", "head", "query", "key"});
  const ModelSlot slot = call.slot("slot", by_name, app.state.active);
  Selection selection = app.state.slots[index_of(slot)].selection;
  if (const auto layer = call.number("layer")) selection.layer = layer;
  if (const auto head = call.number("head")) selection.head = head;
  if (const auto query = call.number("query")) selection.query = query;
  if (const auto key = call.number("key")) selection.key = key;
  app.select(slot, selection);
}

void unlock(App& app, Shell&, const Call&) {
  Selection& selection = app.state.slot().selection;
  selection.query.reset();
  selection.key.reset();
}

/// Selects the head with the largest mean of a metric.
void largest(App& app, Shell&, const Call& call) {
  call.allow(1, {"metric"});
  const std::string name = call.needed("metric", 0, "largest distance");
  Json json = to_json(AtlasState{});
  json["metric"] = name;
  const HeadMetric metric = atlas_state(json).metric;
  if (const std::string reason = needs_run(app); !reason.empty()) throw Error(reason);
  const auto found = largest_head(*app.data().run->atlas, metric);
  if (!found) fail("No head has a number for {}.", name);
  Selection selection = app.state.slot().selection;
  selection.layer = found->layer;
  selection.head = found->head;
  app.select(app.state.active, selection);
}
void furthest(App& app, Shell& shell, const Call&) { largest(app, shell, parse_call("largest distance")); }

void move_head(App& app, int64_t layers, int64_t heads) {
  const auto& model = app.data().model;
  if (!model) return;
  Selection selection = app.state.slot().selection;
  if (has_head(*model->architecture(), selection)) {
    *selection.layer = std::clamp<int64_t>(*selection.layer + layers, 0, model->architecture()->layer_count() - 1);
    const int64_t count = model->architecture()->layers[static_cast<size_t>(*selection.layer)].q_heads;
    *selection.head = std::clamp<int64_t>(*selection.head + heads, 0, count - 1);
  } else {
    selection.layer = selection.head = 0;
  }
  app.select(app.state.active, selection);
}
void head_left(App& app, Shell&, const Call&) { move_head(app, 0, -1); }
void head_right(App& app, Shell&, const Call&) { move_head(app, 0, 1); }
void layer_up(App& app, Shell&, const Call&) { move_head(app, -1, 0); }
void layer_down(App& app, Shell&, const Call&) { move_head(app, 1, 0); }

void switch_off(App& app, Shell&, const Call& call) {
  call.allow(0, {"layer", "head"});
  const Selection& selection = app.state.slot().selection;
  const auto layer = call.number("layer"), head = call.number("head");
  if (layer && head) return app.switch_head(app.state.active, {*layer, *head});
  if (const std::string reason = needs_head(app); !reason.empty()) throw Error(reason);
  app.switch_head(app.state.active, {*selection.layer, *selection.head});
}

void view(App& app, Shell&, const Call& call) {
  call.allow(1, {"name"});
  const std::string name = call.needed("name", 0, "view map");
  std::vector<std::string_view> names;
  for (const ViewInfo& info : views()) {
    if (info.tab) names.push_back(info.name);
  }
  if (std::find(names.begin(), names.end(), name) == names.end()) {
    fail("There is no view {}; choose from {}.", quoted(name), listed(names));
  }
  app.state.view = name;
}
void view_atlas(App& app, Shell&, const Call&) { app.state.view = "atlas"; }
void view_map(App& app, Shell&, const Call&) { app.state.view = "map"; }
void view_kv(App& app, Shell&, const Call&) { app.state.view = "kv"; }

void zoom(App& app, Shell&, const Call& call) {
  call.allow(2, {"rows", "cols"});
  const bool both = call.text("rows", 0) && call.text("cols", 1);
  if (!both) fail("zoom needs rows and columns in tokens, as in: zoom 10:40 0:40");
  std::tie(app.state.map.row_begin, app.state.map.row_end) = *call.range("rows", 0);
  std::tie(app.state.map.key_begin, app.state.map.key_end) = *call.range("cols", 1);
}

void fit(App& app, Shell&, const Call&) { app.state.map = without_zoom(app.state.map); }

void metric(App& app, Shell&, const Call& call) {
  call.allow(1, {"name"});
  Json json = to_json(app.state.atlas);
  json["metric"] = call.needed("name", 0, "metric distance");
  app.state.atlas = atlas_state(json);
}

void log_colour(App& app, Shell&, const Call&) { app.state.map.log_colour = !app.state.map.log_colour; }

void theme(App& app, Shell&, const Call& call) {
  call.allow(1, {"name"});
  const std::string name = call.needed("name", 0, "theme light");
  if (name != "dark" && name != "light") fail("There is no theme {}; choose dark or light.", quoted(name));
  app.state.theme = name == "dark" ? Theme::dark : Theme::light;
}
void other_theme(App& app, Shell&, const Call&) {
  app.state.theme = app.state.theme == Theme::dark ? Theme::light : Theme::dark;
}

void font_scale(App& app, Shell&, const Call& call) {
  call.allow(1, {"scale"});
  call.needed("scale", 0, "font_scale 1.2");
  app.state.font_scale = *call.real("scale", 0, {smallest_font_scale, largest_font_scale});
}
void scale_by(App& app, double step) {
  app.state.font_scale =
      std::clamp(std::round((app.state.font_scale + step) * 10) / 10, smallest_font_scale, largest_font_scale);
}
void larger(App& app, Shell&, const Call&) { scale_by(app, 0.1); }
void smaller(App& app, Shell&, const Call&) { scale_by(app, -0.1); }
void usual_size(App& app, Shell&, const Call&) { app.state.font_scale = 1; }

void slot(App& app, Shell&, const Call& call) {
  call.allow(1, {"name"});
  call.needed("name", 0, "slot B");
  app.state.active = call.slot("name", 0, app.state.active);
}
void other_slot(App& app, Shell&, const Call&) {
  app.state.active = app.state.active == ModelSlot::a ? ModelSlot::b : ModelSlot::a;
}

void export_view(App&, Shell& shell, const Call& call) {
  call.allow(1, {"path"});
  const auto path = call.text("path", 0);
  return path ? shell.export_view(*path) : shell.ask_export();
}

void dismiss(App& app, Shell&, const Call& call) {
  call.allow(1, {"plate"});
  app.dismiss(app.state.active, static_cast<size_t>(call.whole("plate", 0, {0, 1000}).value_or(0)));
}

void palette(App&, Shell& shell, const Call&) { shell.show_palette(); }
void toggle_log(App& app, Shell&, const Call&) { app.state.log_open = !app.state.log_open; }
void toggle_device(App&, Shell& shell, const Call&) { shell.toggle_device(); }
void toggle_head(App&, Shell& shell, const Call&) { shell.toggle_head(); }
void reset_layout(App&, Shell& shell, const Call&) { shell.reset_layout(); }
void copy_command(App& app, Shell& shell, const Call&) { shell.copy(render_line(app, shell.view_size())); }
void copy(App&, Shell& shell, const Call&) { shell.copy(shell.under_cursor()); }
void quit(App& app, Shell&, const Call&) { app.quit_requested = true; }
void about(App&, Shell& shell, const Call&) { shell.show_about(); }
void escape(App& app, Shell& shell, const Call& call) {
  if (shell.step_back()) return;
  const Selection& selection = app.state.slot().selection;
  if (selection.query || selection.key) return unlock(app, shell, call);
  if (app.status().busy) app.cancel();
}

constexpr Command table[] = {
    {"open", "Open model...", "Ctrl+O", "File", "Opens a Hugging Face folder or a HeadScope .h5 file.", always, open},
    {"open_b", "Open second model...", "Ctrl+Shift+O", "File", "Opens a model in slot B.", always, open_b},
    {"close", "Close model", "Ctrl+W", "File", "Frees the active slot's model and run.", needs_opened, close},
    {"export", "Export view...", "Ctrl+E", "File", "Writes the view as SVG, PNG or CSV.", always, export_view},
    {"quit", "Quit", "Ctrl+Q", "File", "Saves the workspace and ends.", always, quit},
    {"prompt", "Edit prompt", "Ctrl+P", "Edit", "Puts the cursor in the prompt.", needs_model, prompt},
    {"copy", "Copy what is under the cursor", "Ctrl+C", "Edit", "As text.", always, copy},
    {"copy_command", "Copy as command", "Ctrl+Shift+C", "Edit", "The headscope line that draws this view again.",
     needs_run, copy_command},
    {"palette", "Search commands", "Ctrl+K", "Edit", "Finds any command by its name.", always, palette},
    {"view_atlas", "Atlas", "Ctrl+1", "View", "Every head of the model, one map each.", always, view_atlas},
    {"view_map", "Map", "Ctrl+2", "View", "The selected head's attention map.", always, view_map},
    {"view_kv", "KV memory", "Ctrl+3", "View", "Bytes of the KV cache over tokens.", always, view_kv},
    {"fit", "Show the whole map", "F", "View", "Undoes zoom and pan.", always, fit},
    {"log_colour", "Logarithmic colours", "L", "View", "The map's colours on a logarithmic or a linear scale.", always,
     log_colour},
    {"other_theme", "Dark or light", "Ctrl+T", "View", "Switches the theme.", always, other_theme},
    {"larger", "Larger text", "Ctrl+=", "View", "Up to 1.6 times.", always, larger},
    {"smaller", "Smaller text", "Ctrl+-", "View", "Down to 0.8 times.", always, smaller},
    {"usual_size", "Usual text size", "Ctrl+0", "View", "As designed.", always, usual_size},
    {"toggle_head", "Head panel", "Ctrl+H", "View", "Shows or hides the panel of the selected head.", always,
     toggle_head},
    {"toggle_device", "Device and memory", "Ctrl+M", "View",
     "Where the model runs, which kernels computed what is shown, and what memory is used for.", always, toggle_device},
    {"toggle_log", "Log", "Ctrl+L", "View", "The last messages and the facts a report needs.", always, toggle_log},
    {"reset_layout", "Reset layout", "", "View", "Panels as they were at first.", always, reset_layout},
    {"other_slot", "Other model", "Ctrl+Tab", "Model", "Switches between slots A and B.", always, other_slot},
    {"furthest", "Select the head that looks back furthest", "", "Model", "By its mean distance.", needs_run, furthest},
    {"head_left", "Previous head", "Left", "Model", "Selects the head before.", needs_model, head_left},
    {"head_right", "Next head", "Right", "Model", "Selects the head behind.", needs_model, head_right},
    {"layer_up", "Previous layer", "Up", "Model", "The same head one layer up.", needs_model, layer_up},
    {"layer_down", "Next layer", "Down", "Model", "The same head one layer down.", needs_model, layer_down},
    {"switch_off", "Switch head off or on", "X", "Model", "Zeroes the selected head's output and runs again.",
     needs_model, switch_off},
    {"run", "Run prompt", "Ctrl+Enter", "Run", "Runs the prompt through the model.", needs_model, run},
    {"next", "Next token", "N", "Run", "Appends one token.", needs_run, next},
    {"generate", "Generate", "Ctrl+G", "Run", "Appends as many tokens as the generation settings say.", needs_run,
     generate},
    {"cancel", "Cancel", "Ctrl+.", "Run", "Stops what is running; what is done stays.", needs_job, cancel},
    {"about", "About HeadScope", "", "Help", "Version, kernel, renderer.", always, about},
    // For scripts, buttons and keys that need no menu entry.
    {"escape", "", "Escape", "", "Undoes the last popup, mode or lock.", always, escape},
    {"prompt_file", "", "", "", "prompt_file PATH: takes the prompt from a file.", needs_model, prompt_file},
    {"sampling", "", "", "", "sampling [count=] [temperature=] [top_k=] [top_p=] [seed=] [ignore_eos=]", always,
     sampling},
    {"select", "", "", "", "select [slot=] [layer=] [head=] [query=] [key=]", always, select},
    {"unlock", "", "", "", "Forgets the selected query and key.", always, unlock},
    {"largest", "", "", "", "largest entropy|distance|sink|max: selects that head.", always, largest},
    {"view", "", "", "", "view NAME", always, view},
    {"zoom", "", "", "", "zoom ROWS COLS, as in: zoom 10:40 0:40", always, zoom},
    {"metric", "", "", "", "metric entropy|distance|sink|max: the number under each thumbnail.", always, metric},
    {"theme", "", "", "", "theme dark|light", always, theme},
    {"font_scale", "", "", "", "font_scale 0.8 to 1.6", always, font_scale},
    {"slot", "", "", "", "slot A|B", always, slot},
    {"dismiss", "", "", "", "dismiss [PLATE]: takes away a message.", always, dismiss},
};

}  // namespace

std::span<const Command> commands() { return table; }

}  // namespace headscope::gui
