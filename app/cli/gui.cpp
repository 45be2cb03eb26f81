#include <signal.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>

#include "app/cli/command.h"
#include "core/base/error.h"
#include "core/base/file.h"

namespace headscope::cli {
namespace {

namespace fs = std::filesystem;

/// The window is a program of its own, so that this one needs no display libraries: beside it when installed, else
/// where the build puts it.
fs::path window_program() {
  std::error_code error;
  const fs::path folder = fs::read_symlink("/proc/self/exe", error).parent_path();
  for (const fs::path& candidate : {folder / "headscope-gui", folder.parent_path() / "gui" / "headscope-gui"}) {
    if (!error && fs::exists(candidate, error)) return candidate;
  }
  fail("headscope-gui is not beside this program, in {}: build it with ./run.sh, or start it by its own path",
       quoted_path(folder));
}

void start_window(const std::vector<std::string>& arguments) {
  const std::string program = window_program().string();
  std::vector<char*> words{const_cast<char*>(program.c_str())};
  for (const std::string& argument : arguments) words.push_back(const_cast<char*>(argument.c_str()));
  words.push_back(nullptr);
  // The window takes signals itself.
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  execv(program.c_str(), words.data());
  fail("{} could not be started: {}", quoted(program), errno_text(errno));
}

}  // namespace

void add_gui(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("gui", "Open the window; takes the options of headscope-gui");
  command->prefix_command();
  command->set_help_flag();
  command->fallthrough(false);
  command->footer("Example: headscope gui models/gpt2");
  command->callback(
      [command, &action] { action = [arguments = command->remaining()](Context&) { start_window(arguments); }; });
}

}  // namespace headscope::cli
