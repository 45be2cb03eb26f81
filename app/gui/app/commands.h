#pragma once

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "app/gui/app/app.h"

namespace headscope::gui {

/// A command line taken apart: `select slot=A layer=2`, `open "my models/gpt2" B`. `rest` is everything behind the
/// command's name as it was written.
struct CommandCall {
  std::string id;
  std::vector<std::string> words;  ///< without a name, in order
  std::map<std::string, std::string, std::less<>> named;
  std::string rest;

  /// Throws Error naming the command when there are more words or other names than the command takes.
  void allow(size_t most_words, std::initializer_list<std::string_view> names) const;
  /// A whole number from 0 on; nothing when the argument is absent. Throws Error.
  std::optional<int64_t> number(std::string_view name) const;
  /// A named argument, or the word at `place`, or nothing.
  std::optional<std::string> text(std::string_view name, size_t place) const;
};

/// Words are parted by spaces; a word in double quotes may hold spaces, with \" \\ \n \t as in JSON. Throws Error.
CommandCall parse_call(std::string_view line);

/// A word as parse_call reads it back, quoted where needed.
std::string quoted_word(std::string_view text);

/// What the shell around the app does for commands: pictures, dialogs, the clipboard.
class Shell {
 public:
  virtual ~Shell() = default;
  virtual void show_palette() = 0;
  virtual void show_browser(ModelSlot) = 0;
  virtual void edit_prompt() = 0;
  virtual void reset_layout() = 0;
  /// Shows or hides the selected head's card.
  virtual void toggle_head() = 0;
  /// Undoes the last popup, mode or lock; returns whether there was one.
  virtual bool step_back() = 0;
  virtual void copy(const std::string& text) = 0;
  /// Text of what is under the cursor, or empty.
  virtual std::string under_cursor() const = 0;
  /// Writes the view in the middle, as large as it is shown, as the ending of the path says. Throws Error.
  virtual void export_view(const std::string& path) = 0;
  /// Opens the export field; `path` is its suggestion.
  virtual void ask_export() = 0;
  virtual void show_about() = 0;
};

/// One entry of the table that menus, shortcuts, palette and scripts read.
struct Command {
  std::string_view id;        ///< first word of its line
  std::string_view title;     ///< "Open model..."; empty: for scripts only
  std::string_view shortcut;  ///< "Ctrl+O", or empty
  std::string_view menu;      ///< "File", or empty
  std::string_view help;      ///< one sentence, for tooltips and the palette
  /// Why it cannot be done now; empty when it can.
  std::string (*disabled)(const App&);
  /// Throws Error.
  void (*run)(App&, Shell&, const CommandCall&);
};

std::span<const Command> commands();
/// Throws Error for an unknown name, with the nearest ones.
const Command& find_command(std::string_view id);

/// Runs one line. Throws Error, also when the command is disabled now.
void run_command(App&, Shell&, std::string_view line);

/// The `headscope render ...` line that makes the shown view again.
std::string render_line(const App&);

}  // namespace headscope::gui
