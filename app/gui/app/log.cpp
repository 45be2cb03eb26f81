#include "app/gui/app/log.h"

#include <ctime>

namespace headscope::gui {

void Log::add(Level level, std::string text) {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  char clock[16];
  std::strftime(clock, sizeof clock, "%H:%M:%S", &local);
  lines_.push_back({level, clock, std::move(text)});
  if (lines_.size() > most_lines) lines_.pop_front();
}

}  // namespace headscope::gui
