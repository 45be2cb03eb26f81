#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/tokenizer/normalizer.h"
#include "core/tokenizer/string_finder.h"

namespace headscope {

/// A token that is looked for in the text before anything else happens to it.
struct AddedToken {
  int32_t id = 0;
  std::string content;
  std::string decoded;       ///< what decoding works on: `content`, normalised for a normalised token
  bool single_word = false;  ///< not beside a letter, digit or underscore
  bool lstrip = false;       ///< takes the white space before it along
  bool rstrip = false;       ///< takes the white space behind it along
  bool normalized = false;   ///< looked for in the normalised text
  bool special = false;      ///< left out when decoding
};

/// The "added_tokens" of a tokenizer file. Matching is leftmost-longest and takes linear time.
class AddedTokens {
 public:
  AddedTokens() = default;
  /// `tokens` have distinct contents and ids; `decoded` is filled in here.
  AddedTokens(std::vector<AddedToken> tokens, const Normalizer&, const std::string& where);

  /// A part of a text: an added token, or text for the model (id -1).
  struct Part {
    size_t begin = 0, end = 0;
    int32_t id = -1;
  };
  /// Cuts the prompt at the tokens with `normalized` false; the text parts are then normalised and cut again.
  std::vector<Part> split_raw(std::string_view text) const { return split(raw_, text); }
  std::vector<Part> split_normalized(std::string_view text) const { return split(normalized_, text); }

  /// nullptr when `id` is no added token.
  const AddedToken* find(int32_t id) const;
  const std::vector<AddedToken>& all() const { return tokens_; }

 private:
  struct Set {
    StringFinder finder;
    std::vector<size_t> tokens;  ///< index into tokens_ of each string of the finder
  };
  std::vector<Part> split(const Set&, std::string_view text) const;

  std::vector<AddedToken> tokens_;
  std::unordered_map<int32_t, size_t> by_id_;
  Set raw_, normalized_;
};

}  // namespace headscope
