#include "app/gui/app/workspace.h"

#include <cstdlib>

#include "core/base/atomic_file.h"
#include "core/base/error.h"
#include "core/base/file.h"

namespace headscope::gui {

namespace fs = std::filesystem;

fs::path usual_workspace() {
  const char* state = std::getenv("XDG_STATE_HOME");
  if (state != nullptr && *state != '\0') return fs::path(state) / "headscope/workspace.json";
  const char* home = std::getenv("HOME");
  return home != nullptr && *home != '\0' ? fs::path(home) / ".local/state/headscope/workspace.json" : fs::path();
}

LoadedWorkspace load_workspace(const fs::path& path) {
  std::error_code ignored;
  if (path.empty() || !fs::exists(path, ignored)) return {};
  try {
    constexpr uint64_t limit = 16 << 20;  // prompts are in it
    return {app_state(parse_json(read_small_file(path, limit), quoted_path(path))), {}};
  } catch (const Error& error) {
    fs::path aside = path;
    aside += ".damaged";
    std::error_code problem;
    fs::rename(path, aside, problem);
    const std::string kept =
        problem ? fmt::format("The file could not be set aside ({}) and will be overwritten", problem.message())
                : fmt::format("The file is now {}", quoted_path(aside));
    return {{}, fmt::format("{} {}; the window starts afresh.", error.what(), kept)};
  }
}

std::string workspace_text(const AppState& state) {
  return to_json(state).dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

void save_workspace(const fs::path& path, const AppState& state) {
  std::error_code error;
  if (path.has_parent_path()) fs::create_directories(path.parent_path(), error);
  if (error) fail("the folder of {} could not be made: {}", quoted_path(path), error.message());
  // Paths may hold bytes that are no text; JSON is text.
  write_file_atomically(path, workspace_text(state));
}

}  // namespace headscope::gui
