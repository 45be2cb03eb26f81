#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "app/gui/frame_times.h"
#include "app/gui/panels/window.h"
#include "app/gui/platform/platform.h"
#include "app/gui/script_input.h"

namespace headscope::gui {

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

  bool done() const { return next_ >= lines_.size() && input_.empty(); }
  /// The newest line waits for what somebody else does.
  bool waiting() const { return waiting_; }
  /// Feeds input and runs lines before a frame is built. Throws Error for a line that fails.
  void step(App&, Window&, Platform&, FrameTimes&);
  /// Must be called when a frame is done, so that shots show it.
  void after_frame(Platform&);

 private:
  using Clock = std::chrono::steady_clock;

  struct Line {
    int number = 0;
    std::string text;
  };
  /// What lines act on.
  struct Stage {
    App& app;
    Window& window;
    Platform& platform;
    FrameTimes& times;
  };

  void parse(std::string_view text);
  bool play(const Line&, const Stage&);
  bool perform(const std::string& text, const Stage&);
  bool perform_input(const CommandCall&, const Window&);
  void skip_to_end_of_budget();

  // One kind of line each. They return whether it is done; else it is performed again before the next frame.
  bool wait(const CommandCall&, const Stage&);
  bool check(const CommandCall&, const Stage&);
  bool shoot(const CommandCall&, const Stage&);
  bool write_state(const CommandCall&, const Stage&);
  bool resize(const CommandCall&, const Stage&);
  bool drop(const CommandCall&, const Stage&);
  bool check_pixel(const CommandCall&, const Stage&);
  bool try_line(const CommandCall&, const Stage&);
  bool measure(const CommandCall&, const Stage&);
  bool time_line(const CommandCall&, const Stage&);
  bool begin_budget(const CommandCall&, const Stage&);
  bool end_budget(const CommandCall&, const Stage&);

  std::string name_;
  std::vector<Line> lines_;
  size_t next_ = 0;
  ScriptInput input_;
  int64_t wait_frames_ = 0;
  bool waiting_ = false;
  int settled_ = 0;                         ///< frames in a row that were idle
  std::optional<Clock::time_point> since_;  ///< when the waiting line began
  /// What `time` began.
  struct Timed {
    std::string name;
    Clock::time_point since, shown;  ///< `shown`: when the newest frame was done
    int64_t frames = 0;
  };
  std::optional<Timed> timed_;
  std::optional<Clock::time_point> deadline_;  ///< of `budget`
  std::string shot_;                           ///< file to write after this frame
};

}  // namespace headscope::gui
