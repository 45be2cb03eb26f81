#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "app/gui/panels/window.h"
#include "app/gui/platform/platform.h"

namespace headscope::gui {

/// Times of frames by section, for docs/measurements.
class FrameTimes {
 public:
  /// Frames from now on belong to `name`.
  void section(std::string name) { section_ = std::move(name); }
  /// Milliseconds of building and of the whole frame; `at` in seconds since the start.
  void add(double build_ms, double frame_ms, double at);
  /// Milliseconds that the next frame spends on the script's own questions, which no user asks.
  void leave_out(double ms) { left_out_ms_ += ms; }
  /// Something that is timed apart from frames ("first tile"). A name may be noted many times.
  struct Note {
    double shown_ms = 0;  ///< until the end of the frame that showed it
    double known_ms = 0;  ///< until the script saw that it holds, before the next frame
    int64_t frames = 0;   ///< drawn until then; 1: the very next one showed it
  };
  void note(const std::string& name, const Note& note) { notes_[name].push_back(note); }
  /// `end` in seconds since the start, as `at` is; a section's longest pause between frames lasts until then.
  Json json(double end) const;

 private:
  struct Times {
    std::vector<double> build, frame, at;
    double left_at = 0;  ///< when the next section's first frame was drawn; 0: this one is the last
  };
  std::string section_ = "start", newest_;
  std::map<std::string, Times> sections_;
  std::map<std::string, std::vector<Note>> notes_;
  double left_out_ms_ = 0;
};

/// Plays a script, one line after the other, a step a frame. A line is a command, `# comment`, or one of:
///   wait idle | wait FRAMES      until no job runs and nothing is queued; for so many frames
///   until KEY OP VALUE           like expect, but waits: while something runs, and then at most 60 s
///   expect KEY OP VALUE          on the state as JSON: slots.A.tokens == 60, error ~ words, OP of == != < <= > >= ~
///   click ID | double_click ID | hover ID | drag ID dx dy | shift_drag ID dx dy | wheel ID NOTCHES
///   move ID                      hover for one frame
///   key CHORD | type TEXT | paste TEXT | drop FILE... | resize WxH | shot FILE | pixel ID DX DY NAME
///   state FILE                   writes what `expect` looks at as JSON
///   measure NAME                 frames from here on are counted under this name
///   time NAME LINE               performs a command or an input and notes the time until the next `until` holds
///   try LINE                     a command or input that may fail: as for a user, a plate says why and it goes on
///   budget SECONDS               once so much time has passed, lines are left out up to the line `finally`
/// Instead of the ID of what is shown, at/X/Y is a place in pixels. A failed line ends the script with a sentence that
/// names it.
class Script {
 public:
  /// Throws Error when the file cannot be read. Paths in it count from the current folder.
  explicit Script(const std::filesystem::path&);
  explicit Script(std::string_view text, std::string name = "script");

  bool done() const { return next_ >= lines_.size() && inputs_.empty(); }
  /// The newest line waits for what somebody else does.
  bool waiting() const { return waiting_; }
  /// Feeds input and runs lines before a frame is built. Throws Error for a line that fails.
  void step(App&, Window&, Platform&, FrameTimes&);
  /// Must be called when a frame is done, so that shots show it.
  void after_frame(Platform&);

 private:
  struct Line {
    int number = 0;
    std::string text;
  };
  /// What is fed to ImGui one frame after the other.
  struct Input {
    enum class Kind { move, press, release, wheel, key_down, key_up, text } kind;
    ImVec2 at{};
    float amount = 0;
    ImGuiKeyChord chord = 0;
    std::string text;
  };

  void parse(std::string_view text);
  bool perform(const std::string& text, App&, Window&, Platform&, FrameTimes&);
  bool perform_condition(const CommandCall&, const Window&, FrameTimes&);
  bool perform_measuring(const CommandCall&, Window&, FrameTimes&);
  void try_line(const std::string& text, App&, Window&);
  void skip_to_end_of_budget();
  bool perform_input(const CommandCall&, Window&);
  void feed(const Input&);
  ImVec2 place(Window&, const std::string& id) const;
  void push_key(std::string_view chord);

  std::string name_;
  std::vector<Line> lines_;
  size_t next_ = 0;
  std::deque<Input> inputs_;
  int64_t wait_frames_ = 0;
  bool waiting_ = false;
  int settled_ = 0;                                             ///< frames in a row that were idle
  std::optional<std::chrono::steady_clock::time_point> since_;  ///< when the waiting line began
  /// What `time` began.
  struct Timed {
    std::string name;
    std::chrono::steady_clock::time_point since, shown;  ///< `shown`: when the newest frame was done
    int64_t frames = 0;
  };
  std::optional<Timed> timed_;
  std::optional<std::chrono::steady_clock::time_point> deadline_;  ///< of `budget`
  std::string shot_;                                               ///< file to write after this frame
};

/// Whether `value` OP `wanted`; numbers compare as numbers, ~ looks for text.
bool holds(const Json& value, std::string_view op, const std::string& wanted);
/// The value at "slots.A.kv.used_bytes"; throws Error naming the part that is not there.
const Json& value_at(const Json&, std::string_view key);

}  // namespace headscope::gui
