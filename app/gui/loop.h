#pragma once

#include <atomic>
#include <filesystem>
#include <string>

#include "app/gui/app/app.h"
#include "app/gui/panels/window.h"
#include "app/gui/platform/platform.h"
#include "app/gui/script.h"

namespace headscope::gui {

/// What the main loop needs besides the app.
struct LoopOptions {
  bool headless = false;
  std::filesystem::path workspace;  ///< saved here on exit and every 30 s; empty: nowhere
  std::string script;               ///< file, or empty
  std::string shot;                 ///< PNG to write at the end, or empty
  std::string frame_times;          ///< JSON to write at the end, or empty
};

/// Draws frames until the window is closed or, off-screen, until the script has ended and nothing is left to do.
/// After any event three frames are drawn, then it waits: an idle window draws nothing. Throws Error for a script line
/// that fails. `stop` ends the loop from a signal handler's thread.
void run_loop(App&, Window&, Platform&, const LoopOptions&, const std::atomic<bool>& stop);

}  // namespace headscope::gui
