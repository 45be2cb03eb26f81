#include "app/gui/paint/imgui_misuse.h"

#include <mutex>
#include <string_view>

#include "app/gui/paint/imgui_config.h"

namespace headscope::gui {
namespace {

// ImGui's assertions are a macro without a context, so what they report to has to be reachable from anywhere.
struct Record {
  std::mutex mutex;
  ImguiMisuse misuse;
  std::function<void(const std::string&)> handler;
};

Record& record() {
  static Record instance;
  return instance;
}

}  // namespace

void report_imgui_misuse(const char* expression, const char* file, int line) noexcept {
  try {
    const std::string_view path(file);
    const std::string what =
        std::string(path.substr(path.find_last_of('/') + 1)) + ":" + std::to_string(line) + ": " + expression;
    Record& r = record();
    std::function<void(const std::string&)> handler;
    {
      const std::lock_guard lock(r.mutex);
      if (r.misuse.count++ == 0) r.misuse.first = what;
      handler = r.handler;
    }
    if (handler) handler(what);
  } catch (...) {  // no memory left or a handler that threw: nothing more can be reported
  }
}

ImguiMisuse imgui_misuse() {
  const std::lock_guard lock(record().mutex);
  return record().misuse;
}

void clear_imgui_misuse() {
  const std::lock_guard lock(record().mutex);
  record().misuse = {};
}

void on_imgui_misuse(std::function<void(const std::string& what)> handler) {
  const std::lock_guard lock(record().mutex);
  record().handler = std::move(handler);
}

}  // namespace headscope::gui
