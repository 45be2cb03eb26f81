#include "core/base/error.h"

#include "core/base/text.h"

namespace headscope {
namespace {

/// Characters that are invisible, reorder what follows, or break a line: shown by number, never by themselves.
bool is_disguised(char32_t code) {
  return code < 0x20 || (code >= 0x7F && code < 0xA0) || code == 0xAD || code == 0x61C || code == 0xFEFF ||
         (code >= 0x200B && code <= 0x200F) || (code >= 0x2028 && code <= 0x202E) ||
         (code >= 0x2060 && code <= 0x206F) || (code >= 0xFFF9 && code <= 0xFFFB) ||
         (code >= 0xE0000 && code <= 0xE007F);
}

/// Appends the character at `position` in a printable form and moves behind it.
void append_escaped(std::string& out, std::string_view text, size_t& position) {
  const size_t begin = position;
  const char32_t code = decode_utf8(text, position);
  if (code == invalid_code_point) {
    out += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[begin]));
  } else if (code == '"' || code == '\\') {
    out += '\\';
    out += static_cast<char>(code);
  } else if (code == '\n') {
    out += "\\n";
  } else if (code == '\t') {
    out += "\\t";
  } else if (is_disguised(code)) {
    out += code < 0x80 ? fmt::format("\\x{:02x}", static_cast<unsigned>(code))
                       : fmt::format("\\u{{{:04x}}}", static_cast<unsigned>(code));
  } else {
    out += text.substr(begin, position - begin);
  }
}

bool is_continuation(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

}  // namespace

std::string quoted(std::string_view text, size_t limit) {
  std::string out = "\"";
  size_t position = 0;
  if (text.size() > limit) {
    // Beginning and end both tell something (a path's end most of all); only the middle goes.
    const size_t head = limit - limit / 3;
    while (position < head) append_escaped(out, text, position);
    out += "...";
    position = std::max(position, text.size() - limit / 3);
    while (position < text.size() && is_continuation(text[position])) ++position;
  }
  while (position < text.size()) append_escaped(out, text, position);
  return out + '"';
}

std::string quoted_path(const std::filesystem::path& path) { return quoted(path.native(), 240); }

}  // namespace headscope
