#include "core/tokenizer/added_tokens.h"

#include <algorithm>

#include "core/base/text.h"
#include "core/tokenizer/unicode.h"

namespace headscope {
namespace {

/// Ends of white space runs; each run is walked once, however often it is asked about.
class SpaceRuns {
 public:
  explicit SpaceRuns(std::string_view text) : text_(text) {}

  /// End of the white space that begins at `position`.
  size_t end_of(size_t position) {
    if (position >= begin_ && position <= end_) return end_;
    begin_ = end_ = position;
    while (end_ < text_.size()) {
      size_t next = end_;
      if (!is_white_space(decode_utf8(text_, next))) break;
      end_ = next;
    }
    return end_;
  }

  /// Begin of the white space that ends at `position`, not before `bound`.
  size_t begin_of(size_t position, size_t bound) const {
    while (position > bound) {
      size_t previous = last_character(text_.substr(0, position));
      size_t i = previous;
      if (!is_white_space(decode_utf8(text_, i))) break;
      position = previous;
    }
    return position;
  }

 private:
  std::string_view text_;
  size_t begin_ = 1, end_ = 0;  // nothing walked yet
};

/// Whether text[begin, end) stands alone, with no word character on either side.
bool is_single_word(std::string_view text, size_t begin, size_t end) {
  size_t behind = end;
  if (end < text.size() && is_word_character(decode_utf8(text, behind))) return false;
  if (begin == 0) return true;
  size_t before = last_character(text.substr(0, begin));
  return !is_word_character(decode_utf8(text, before));
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens, const Normalizer& normalizer, const std::string& where)
    : tokens_(std::move(tokens)) {
  const Budget budget(0);
  std::vector<std::string> raw, normalized;
  // Where two tokens are normalised to the same text the special one is meant, as in the Python package.
  for (const bool special : {true, false}) {
    for (size_t i = 0; i < tokens_.size(); ++i) {
      AddedToken& token = tokens_[i];
      if (token.special != special) continue;
      token.decoded = token.normalized ? normalizer.normalize(token.content, budget) : token.content;
      if (token.decoded.empty()) fail("{}: the added token {} is normalised to nothing", where, quoted(token.content));
      (token.normalized ? normalized_ : raw_).tokens.push_back(i);
      (token.normalized ? normalized : raw).push_back(token.decoded);
    }
  }
  for (size_t i = 0; i < tokens_.size(); ++i) by_id_[tokens_[i].id] = i;
  raw_.finder = StringFinder(raw);
  normalized_.finder = StringFinder(normalized);
}

const AddedToken* AddedTokens::find(int32_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &tokens_[found->second];
}

/// A token with rstrip can reach over a following token that is white space; that one still counts, as in the Python
/// package, which works on the matches in just this way.
std::vector<AddedTokens::Part> AddedTokens::split(const Set& set, std::string_view text) const {
  std::vector<Part> parts;
  SpaceRuns spaces(text);
  size_t covered = 0;
  for (const StringFinder::Found& found : set.finder.find_all(text)) {
    const AddedToken& token = tokens_[set.tokens[found.which]];
    size_t begin = found.begin, end = found.end;
    if (token.single_word && !is_single_word(text, begin, end)) continue;
    if (token.lstrip) begin = std::max(spaces.begin_of(begin, std::min(begin, covered)), covered);
    if (token.rstrip) end = spaces.end_of(end);
    if (covered < begin) parts.push_back({covered, begin, -1});
    parts.push_back({begin, end, token.id});
    covered = end;
  }
  if (covered < text.size()) parts.push_back({covered, text.size(), -1});
  return parts;
}

}  // namespace headscope
