#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "app/gui/app/state.h"

namespace headscope::gui {

/// Where the window's state is kept between starts: $XDG_STATE_HOME/headscope/workspace.json, or below ~/.local/state.
/// Empty when neither is known.
std::filesystem::path usual_workspace();

struct LoadedWorkspace {
  std::optional<AppState> state;  ///< nothing: there was none, or it was damaged
  std::string problem;            ///< what was wrong with it and where it is now, or empty
};

/// Reads a workspace. One that cannot be read is set aside as PATH.damaged, so that nothing is lost.
LoadedWorkspace load_workspace(const std::filesystem::path&);

/// The workspace as text; bytes that are not UTF-8 (in paths) become U+FFFD.
std::string workspace_text(const AppState&);

/// Writes it whole or not at all, making the folder when it is missing. Throws Error.
void save_workspace(const std::filesystem::path&, const AppState&);

}  // namespace headscope::gui
