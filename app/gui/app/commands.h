#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "app/gui/app/app.h"

namespace headscope::gui {

/// The numbers that an argument may be.
template <class Number>
struct Bounds {
  Number least, most;
};

/// The place of an argument that is given by its name only.
inline constexpr size_t by_name = SIZE_MAX;

/// A command line taken apart: `select slot=A layer=2`, `open "my models/gpt2" B`. `rest` is everything behind the
/// command's name as it was written. All throw Error with a sentence that says what is wrong.
struct CommandCall {
  std::string id;
  std::vector<std::string> words;  ///< without a name, in order
  std::map<std::string, std::string, std::less<>> named;
  std::string rest;

  /// Throws Error naming the command when there are more words or other names than the command takes.
  void allow(size_t most_words, std::initializer_list<std::string_view> names) const;

  /// A named argument, or the word at `place`, or nothing.
  std::optional<std::string> text(std::string_view name, size_t place) const;
  /// The same where it must not be missing or empty; `example` is a line that has it.
  std::string needed(std::string_view name, size_t place, std::string_view example) const;
  /// A whole number from 0 on, given by its name; nothing when the argument is absent.
  std::optional<int64_t> number(std::string_view name) const;
  std::optional<int64_t> whole(std::string_view name, size_t place, Bounds<int64_t>) const;
  std::optional<double> real(std::string_view name, size_t place, Bounds<double>) const;
  /// "10:40" as tokens [10, 40).
  std::optional<std::pair<int64_t, int64_t>> range(std::string_view name, size_t place) const;
  ModelSlot slot(std::string_view name, size_t place, ModelSlot otherwise) const;

  /// The word at `place`, which must be there: `what` says what it is, as in "a file".
  const std::string& needed_word(size_t place, std::string_view what) const;
  double needed_number(size_t place) const;
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
  /// Shows or hides the device, its memory and the kernels.
  virtual void toggle_device() = 0;
  /// Undoes the last popup, mode or lock; returns whether there was one.
  virtual bool step_back() = 0;
  virtual void copy(const std::string& text) = 0;
  /// Text of what is under the cursor, or empty.
  virtual std::string under_cursor() const = 0;
  /// Width and height of the view's figure in px; 0 before it was drawn.
  virtual std::pair<int64_t, int64_t> view_size() const = 0;
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
/// Throws Error for an unknown name, with all of them.
const Command& find_command(std::string_view id);

/// Runs one line. Throws Error, also when the command is disabled now.
void run_command(App&, Shell&, std::string_view line);

/// The `headscope render ...` line that makes the shown view again, in px; a size of 0 leaves that out.
std::string render_line(const App&, std::pair<int64_t, int64_t> size);

}  // namespace headscope::gui
