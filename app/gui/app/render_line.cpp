#include "app/gui/app/commands.h"
#include "core/base/text.h"

namespace headscope::gui {
namespace {

/// As a POSIX shell reads one word back.
std::string shell_word(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'') {
      out += "'\\''";
    } else {
      out += c;
    }
  }
  return out + "'";
}

}  // namespace

std::string render_line(const App& app, std::pair<int64_t, int64_t> size) {
  const SlotState& slot = app.state.slot();
  const RunSnapshot& run = *app.data().run->snapshot;
  std::string line = fmt::format("headscope render {} --view {}", shell_word(slot.path), app.state.view);
  if (slot.selection.layer && slot.selection.head) {
    line += fmt::format(" --layer {} --head {}", *slot.selection.layer, *slot.selection.head);
  }
  if (slot.selection.query) line += fmt::format(" --query {}", *slot.selection.query);
  if (slot.selection.key) line += fmt::format(" --key {}", *slot.selection.key);
  const RunView& view = *app.data().run;
  if (view.sampled || !app.data().model->has_tokenizer()) {  // the prompt alone does not give these tokens again
    line += " --ids ";
    for (size_t i = 0; i < run.ids.size(); ++i) line += fmt::format("{}{}", i > 0 ? "," : "", run.ids[i]);
  } else {
    line += " --prompt " + shell_word(view.prompt);
    const int64_t cut = run.prompt_tokens < view.expected_tokens ? run.prompt_tokens : view.cut;  // stopped in between
    if (cut > 0) line += fmt::format(" --cut {}", cut);
    const int64_t generated = run.tokens() - run.prompt_tokens;
    if (generated > 0) line += fmt::format(" --generate {} --ignore-eos", generated);
  }
  for (const std::string& intervention : run.interventions)
    line += " --zero " + intervention.substr(intervention.find(' ') + 1);
  const Json state = app.state.view == "map"  ? to_json(window_within(app.state.map, run.tokens()))
                     : app.state.view == "kv" ? to_json(app.state.kv)
                                              : to_json(app.state.atlas);
  line += " --state " + shell_word(state.dump());
  if (size.first > 0 && size.second > 0) line += fmt::format(" --size {}x{}", size.first, size.second);
  if (app.state.theme == Theme::light) line += " --theme light";
  return line + fmt::format(" --out {}.svg", app.state.view);
}

}  // namespace headscope::gui
