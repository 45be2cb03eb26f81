#pragma once

#include <deque>
#include <string>

namespace headscope::gui {

/// The last messages, for the log panel. UI thread only.
class Log {
 public:
  static constexpr size_t most_lines = 500;
  enum class Level { info, warning, error };
  struct Line {
    Level level = Level::info;
    std::string time;  ///< "14:03:21", local
    std::string text;
  };

  void add(Level level, std::string text);
  void info(std::string text) { add(Level::info, std::move(text)); }
  void error(std::string text) { add(Level::error, std::move(text)); }
  const std::deque<Line>& lines() const { return lines_; }

 private:
  std::deque<Line> lines_;
};

}  // namespace headscope::gui
