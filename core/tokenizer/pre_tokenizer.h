#pragma once

#include <string>
#include <variant>
#include <vector>

#include "core/tokenizer/metaspace.h"
#include "core/tokenizer/pattern.h"

namespace headscope {

/// A text on its way to the model: `words` are the parts that are encoded on their own, in order; what lies between
/// them was removed.
struct Words {
  std::string text;
  std::vector<Span> words;
  bool at_start = false;  ///< the first word begins where the whole prompt begins
};

/// The "pre_tokenizer" of a tokenizer file: null, ByteLevel, Split, Digits, Punctuation, Metaspace or a Sequence of
/// these, as a flat list of steps.
class PreTokenizer {
 public:
  /// Leaves the text whole.
  PreTokenizer() = default;
  explicit PreTokenizer(const Component&);

  void apply(Words&, const Budget&) const;

 private:
  enum class Behavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };
  struct Split {
    Pattern pattern;
    Behavior behavior;
    bool invert;
  };
  struct PrefixSpace {};
  struct BytesAsCharacters {};
  /// Digits and Punctuation: each character of a kind is a match.
  struct Characters {
    bool (*matches)(char32_t);
    Behavior behavior;
  };
  using Step = std::variant<Split, PrefixSpace, BytesAsCharacters, Characters, Metaspace>;

  void add(const Component&);
  void add_byte_level(bool prefix_space, bool use_regex, const std::string& where);
  static Behavior behavior_of(const Component&, std::string_view fallback);

  static void run(const Split&, Words&, const Budget&);
  static void run(const PrefixSpace&, Words&, const Budget&);
  static void run(const BytesAsCharacters&, Words&, const Budget&);
  static void run(const Characters&, Words&, const Budget&);
  static void run(const Metaspace&, Words&, const Budget&);

  static void join(std::vector<Span>& parts, Behavior);
  template <class Cut>
  static void cut_words(Words&, Behavior, const Cut&);
  template <class Rewrite>
  static void rewrite_words(Words&, const Budget&, const Rewrite&);

  std::vector<Step> steps_;
};

}  // namespace headscope
