#include "core/tokenizer/pattern.h"

#include "core/tokenizer/unicode.h"

namespace headscope {

Pattern Pattern::from(const Component& owner) {
  const Component pattern = owner.child("pattern");
  if (pattern.find("String")) return Pattern(pattern.text("String"));
  if (pattern.find("Regex")) return Pattern(Regex(pattern.text("Regex"), owner.where()));
  pattern.refuse("must be {\"String\": ...} or {\"Regex\": ...}");
}

Pattern::Cutter::Cutter(const Pattern& pattern, const Budget& budget) : pattern_(pattern) {
  if (const auto* regex = std::get_if<Regex>(&pattern.what_)) search_.emplace(*regex, std::string_view(), budget);
}

std::optional<std::pair<size_t, size_t>> Pattern::Cutter::find(std::string_view text, size_t from) {
  if (search_) return search_->find(from);
  const std::string& literal = std::get<std::string>(pattern_.what_);
  const size_t found = text.find(literal, from);
  if (found == text.npos) return std::nullopt;
  return std::pair(found, found + literal.size());
}

std::vector<Span> Pattern::Cutter::cut(std::string_view text) {
  if (text.empty()) return {{0, 0, false}};
  if (search_) search_->set_text(text);
  std::vector<Span> spans;
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
    if (covered < begin) spans.push_back({covered, begin, false});
    spans.push_back({begin, end, true});
    covered = end;
    from = end;
    last_end = end;
  }
  if (covered < text.size()) spans.push_back({covered, text.size(), false});
  return spans;
}

std::string Pattern::replaced(std::string_view text, std::string_view content, const Budget& budget) const {
  if (text.empty()) return {};
  std::string out;
  out.reserve(text.size());
  for (const Span& span : Cutter(*this, budget).cut(text)) {
    out += span.is_match ? content : text.substr(span.begin, span.end - span.begin);
    budget.check_size(out.size());
  }
  return out;
}

}  // namespace headscope
