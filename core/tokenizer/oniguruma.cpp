#include "core/tokenizer/oniguruma.h"

#include <algorithm>
#include <array>
#include <cstdlib>

#include "core/base/error.h"

namespace headscope {
namespace {

bool is_one_of(char c, std::string_view set) { return set.find(c) != set.npos; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }
bool is_name(char c) { return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

constexpr std::array<std::string_view, 37> general_categories{
    "C",  "Cc", "Cf", "Cn", "Co", "Cs", "L",  "Ll", "Lm", "Lo", "Lt", "Lu", "M",  "Mc", "Me", "Mn", "N",  "Nd", "Nl",
    "No", "P",  "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S",  "Sc", "Sk", "Sm", "So", "Z",  "Zl", "Zp", "Zs"};

/// Walks the pattern once, from left to right.
class Translator {
 public:
  Translator(std::string_view pattern, std::string_view where) : pattern_(pattern), where_(where) {}

  std::string run() {
    while (position_ < pattern_.size()) {
      const char c = pattern_[position_];
      if (c == '\\') {
        escape(false);
      } else if (c == '[') {
        character_class();
      } else if (c == '(') {
        group();
      } else if (c == '{') {
        interval();
      } else if (c == '^') {
        replace(1, "(?:\\A|(?<=\\n)(?!\\z))");
      } else if (c == '$') {
        replace(1, "(?:(?=\\n)|(?<!\\n)\\z)");
      } else {
        copy(1);
      }
    }
    return std::move(out_);
  }

 private:
  [[noreturn]] void refuse(std::string_view what) const {
    fail(
        "{}: the regular expression {} uses {} at byte {}, which is not supported; token ids can still be given "
        "with --ids",
        where_, quoted(pattern_), what, position_);
  }

  char at(size_t offset) const { return position_ + offset < pattern_.size() ? pattern_[position_ + offset] : '\0'; }
  void copy(size_t count) {
    out_ += pattern_.substr(position_, count);
    position_ += count;
  }
  void replace(size_t count, std::string_view text) {
    out_ += text;
    position_ += count;
  }

  void escape(bool in_class) {
    const char c = at(1);
    if (c == '\0') refuse("a lone backslash");
    if (c == 's') return replace(2, "\\p{White_Space}");
    if (c == 'S') return replace(2, "\\P{White_Space}");
    if (c == 'v') return replace(2, "\\x0B");
    if (c == 'p' || c == 'P') return property();
    if (c == 'u') return code_point();
    if (c == 'x') return hexadecimal();
    if (is_one_of(c, "dDnrtfae") || (!in_class && is_one_of(c, "Az"))) return copy(2);
    // Other letters and digits are classes, anchors, calls and back references that the engines do not share.
    if (is_name(c) && c != '_') refuse(fmt::format("\\{}", c));
    if (static_cast<unsigned char>(c) >= 0x80) {
      ++position_;  // a backslash before a character that needs none
      return;
    }
    copy(2);
  }

  void property() {
    if (at(2) != '{') refuse("\\p without braces");
    const size_t end = pattern_.find('}', position_);
    if (end == pattern_.npos) refuse("\\p without its closing brace");
    std::string_view name = pattern_.substr(position_ + 3, end - position_ - 3);
    bool negative = at(1) == 'P';
    if (!name.empty() && name.front() == '^') {
      negative = !negative;
      name.remove_prefix(1);
    }
    if (name.empty() || !std::all_of(name.begin(), name.end(), is_name)) refuse(fmt::format("\\p{{{}}}", name));
    const bool plain = name == "White_Space" || std::find(general_categories.begin(), general_categories.end(), name) !=
                                                    general_categories.end();
    // Without "sc:" PCRE2 would also take characters that several scripts share.
    out_ += fmt::format("\\{}{{{}{}}}", negative ? 'P' : 'p', plain ? "" : "sc:", name);
    position_ = end + 1;
  }

  /// \uHHHH
  void code_point() {
    for (size_t i = 2; i < 6; ++i) {
      if (!is_hex(at(i))) refuse("\\u without four digits");
    }
    out_ += fmt::format("\\x{{{}}}", pattern_.substr(position_ + 2, 4));
    position_ += 6;
  }

  /// \xHH or \x{H...}; \xHH beyond ASCII is a byte there and a character here.
  void hexadecimal() {
    if (at(2) == '{') {
      size_t count = 0;
      while (is_hex(at(3 + count))) ++count;
      if (count == 0 || count > 6 || at(3 + count) != '}') refuse("\\x{...} that is no code point");
      return copy(count + 4);
    }
    if (!is_hex(at(2)) || !is_hex(at(3))) refuse("\\x without two digits");
    if (at(2) > '7') refuse("\\x of a byte that is not ASCII");
    copy(4);
  }

  void character_class() {
    copy(1);
    if (at(0) == '^') copy(1);
    if (at(0) == ']') refuse("] as the first of a class");
    while (at(0) != ']') {
      if (position_ >= pattern_.size()) refuse("a class without its end");
      if (at(0) == '[') refuse("[ inside a class");
      if (at(0) == '&' && at(1) == '&') refuse("&& inside a class");
      if (at(0) == '\\') {
        escape(true);
      } else {
        copy(1);
      }
    }
    copy(1);
  }

  void group() {
    if (at(1) == '*') refuse("(*");
    if (at(1) != '?') return copy(1);
    // In Ruby's syntax a(?i)b|c is a(?i:b|c); only at the beginning do the engines agree.
    if (position_ == 0 && pattern_.starts_with("(?i)")) return copy(4);
    static constexpr std::array<std::string_view, 8> shared{"(?:",  "(?=",  "(?!",  "(?>",
                                                            "(?<=", "(?<!", "(?i:", "(?-i:"};
    for (const std::string_view opening : shared) {
      if (pattern_.substr(position_).starts_with(opening)) return copy(opening.size());
    }
    refuse(pattern_.substr(position_, 3));
  }

  /// {n}, {n,} and {n,m}, lazy or not. A brace that begins no interval is a plain character in both engines.
  void interval() {
    size_t length = 1;
    while (is_digit(at(length))) ++length;
    const bool lower = length > 1;
    const bool comma = at(length) == ',';
    if (comma) {
      ++length;
      while (is_digit(at(length))) ++length;
    }
    const bool any = lower || (comma && length > 2);
    if (!any || at(length) != '}') return replace(1, "\\{");
    if (!lower) refuse("{,n}");
    ++length;
    if (at(length) == '+') refuse("{n,m}+");
    if (at(length) == '?' && !comma) refuse("{n}?");
    copy(length);
  }

  std::string_view pattern_;
  std::string_view where_;
  size_t position_ = 0;
  std::string out_;
};

}  // namespace

std::string pcre2_pattern(std::string_view oniguruma, std::string_view where) {
  return Translator(oniguruma, where).run();
}

}  // namespace headscope
