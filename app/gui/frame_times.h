#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/io/json.h"

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

}  // namespace headscope::gui
