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

std::string render_line(const App& app) {
  const SlotState& slot = app.state.slot();
  const RunSnapshot& run = *app.data().run->snapshot;
  std::string line = fmt::format("headscope render {} --view {}", shell_word(slot.path), app.state.view);
  if (slot.selection.layer && slot.selection.head) {
    line += fmt::format(" --layer {} --head {}", *slot.selection.layer, *slot.selection.head);
  }
  // Ids rather than the text: what was generated with a temperature is in them, too.
  if (run.tokens() > run.prompt_tokens || slot.cut > 0) {
    line += " --ids ";
    for (size_t i = 0; i < run.ids.size(); ++i) line += fmt::format("{}{}", i > 0 ? "," : "", run.ids[i]);
  } else {
    line += " --prompt " + shell_word(app.data().run->prompt);
  }
  for (const std::string& intervention : run.interventions) line += " --zero " + intervention.substr(5);
  const Json state = app.state.view == "map"  ? to_json(app.state.map)
                     : app.state.view == "kv" ? to_json(app.state.kv)
                                              : to_json(app.state.atlas);
  line += " --state " + shell_word(state.dump());
  if (app.state.theme == Theme::light) line += " --theme light";
  return line + fmt::format(" --out {}.svg", app.state.view);
}

}  // namespace headscope::gui
