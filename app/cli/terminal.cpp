#include "app/cli/terminal.h"

#include <unistd.h>
#include <utf8proc.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>

#include "core/base/error.h"
#include "core/base/text.h"

namespace headscope::cli {
namespace {

/// Columns that UTF-8 text takes on a terminal.
size_t display_width(std::string_view text) {
  size_t width = 0;
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  auto left = static_cast<utf8proc_ssize_t>(text.size());
  while (left > 0) {
    utf8proc_int32_t code = 0;
    const utf8proc_ssize_t used = utf8proc_iterate(bytes, left, &code);
    if (used <= 0) return text.size();
    width += static_cast<size_t>(std::max(0, utf8proc_charwidth(code)));
    bytes += used;
    left -= used;
  }
  return width;
}

std::string padded(std::string_view text, size_t width, bool right) {
  const size_t own = display_width(text);
  const std::string fill(width > own ? width - own : 0, ' ');
  return right ? fill + std::string(text) : std::string(text) + fill;
}

/// One bar on standard error, redrawn at most ten times a second, wiped when the work ends.
class Bar {
 public:
  ~Bar() {
    if (drawn_) std::fputs("\r\033[K", stderr);
  }
  void draw(std::string_view stage, double fraction) {
    const auto now = std::chrono::steady_clock::now();
    if (now - last_ < std::chrono::milliseconds(100)) return;
    last_ = now;
    drawn_ = true;
    constexpr int cells = 30;
    const int full = std::clamp(static_cast<int>(fraction * cells), 0, cells);
    std::fprintf(stderr, "\r\033[K%-12.*s [%s%s] %3d %%", static_cast<int>(stage.size()), stage.data(),
                 std::string(static_cast<size_t>(full), '#').c_str(),
                 std::string(static_cast<size_t>(cells - full), '.').c_str(), static_cast<int>(fraction * 100));
    std::fflush(stderr);
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
  bool drawn_ = false;
};

}  // namespace

Progress Context::progress() const {
  Progress progress{stop, {}};
  if (!global.quiet && isatty(STDERR_FILENO) != 0) {
    progress.report = [bar = std::make_shared<Bar>()](std::string_view stage, double fraction) {
      bar->draw(stage, fraction);
    };
  }
  return progress;
}

std::string facts_table(const std::vector<std::pair<std::string, std::string>>& facts) {
  size_t width = 0;
  for (const auto& [label, value] : facts) width = std::max(width, display_width(label));
  std::string out;
  for (const auto& [label, value] : facts) out += padded(label, width + 3, false) + value + '\n';
  return out;
}

std::string text_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t column = 0; column < row.size(); ++column) {
      widths[column] = std::max(widths[column], display_width(row[column]));
    }
  }
  std::string out;
  for (const auto& row : rows) {
    std::string line;
    for (size_t column = 0; column < row.size(); ++column) {
      if (column > 0) line += "  ";
      line += padded(row[column], widths[column], column > 0);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + '\n';
  }
  return out;
}

std::string printable(std::string_view text) {
  std::string out;
  for (size_t position = 0; position < text.size();) {
    const size_t begin = position;
    const char32_t code = decode_utf8(text, position);
    const bool control = (code < 0x20 && code != '\n' && code != '\t') || (code >= 0x7F && code < 0xA0);
    if (control) {
      out += fmt::format("\\x{:02x}", static_cast<uint32_t>(code));
    } else {
      out += text.substr(begin, position - begin);
    }
  }
  return out;
}

void print_notes(const Context& context, std::span<const std::string> notes) {
  if (context.global.quiet) return;
  for (const std::string& note : notes) std::fprintf(stderr, "note: %s\n", note.c_str());
}

// A folder's name need not be UTF-8; its stray bytes become U+FFFD.
std::string json_text(const Json& json) { return json.dump(2, ' ', false, Json::error_handler_t::replace) + '\n'; }

}  // namespace headscope::cli
