#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/tokenizer/component.h"
#include "core/tokenizer/regex.h"

namespace headscope {

/// A part of a text: bytes [begin, end).
struct Span {
  size_t begin = 0, end = 0;
  bool is_match = false;
};

/// What Split and Replace look for: {"String": text} or {"Regex": pattern}.
class Pattern {
 public:
  /// Field "pattern" of `owner`.
  static Pattern from(const Component& owner);
  explicit Pattern(std::string literal) : what_(std::move(literal)) {}
  explicit Pattern(Regex regex) : what_(std::move(regex)) {}

  /// Looks through several texts, one after the other.
  class Cutter {
   public:
    Cutter(const Pattern&, const Budget&);
    /// `text` as matches and the parts between them, in order and without gaps. An empty text is one part. As in
    /// the Python package an empty match counts, unless it lies directly behind the match before it.
    std::vector<Span> cut(std::string_view text);

   private:
    std::optional<std::pair<size_t, size_t>> find(std::string_view text, size_t from);
    const Pattern& pattern_;
    std::optional<Regex::Search> search_;
  };

  /// `text` with each match replaced by `content`.
  std::string replaced(std::string_view text, std::string_view content, const Budget&) const;

 private:
  std::variant<std::string, Regex> what_;
};

}  // namespace headscope
