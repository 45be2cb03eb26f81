#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/tokenizer/component.h"
#include "core/tokenizer/regex.h"
#include "core/tokenizer/unicode.h"

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
    /// Calls `visit(Span)` for the matches in `text` and the parts between them, in order and without gaps. An empty
    /// text is one part. As in the Python package an empty match counts, unless it lies directly behind the match
    /// before it.
    template <class Visit>
    void each(std::string_view text, const Visit& visit);
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

template <class Visit>
void Pattern::Cutter::each(std::string_view text, const Visit& visit) {
  if (text.empty()) return visit(Span{0, 0, false});
  if (search_) search_->set_text(text);
  size_t covered = 0;
  std::optional<size_t> last_end;
  for (size_t from = 0; from <= text.size();) {
    const auto found = find(text, from);
    if (!found) break;
    const auto [begin, end] = *found;
    if (begin == end && last_end == end) {
      from += from < text.size() ? utf8_length(text, from) : 1;
      continue;
    }
    if (covered < begin) visit(Span{covered, begin, false});
    visit(Span{begin, end, true});
    covered = end;
    from = end;
    last_end = end;
  }
  if (covered < text.size()) visit(Span{covered, text.size(), false});
}

}  // namespace headscope
