#include "core/tokenizer/pattern.h"

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
  std::vector<Span> spans;
  each(text, [&](const Span& span) { spans.push_back(span); });
  return spans;
}

std::string Pattern::replaced(std::string_view text, std::string_view content, const Budget& budget) const {
  std::string out;
  out.reserve(text.size());
  if (text.empty()) return out;
  Cutter(*this, budget).each(text, [&](const Span& span) {
    out += span.is_match ? content : text.substr(span.begin, span.end - span.begin);
    budget.check_size(out.size());
  });
  return out;
}

}  // namespace headscope
