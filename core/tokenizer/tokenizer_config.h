#pragma once

#include <string>
#include <vector>

#include "core/io/json.h"
#include "core/tokenizer/bpe.h"

namespace headscope {

/// One added token and its place in the file that names it, for messages.
struct PlacedToken {
  Json token;  ///< as the "added_tokens" of a tokenizer.json have it
  std::string where;
};

/// What transformers' GPT2Tokenizer adds to vocab.json and merges.txt, as the parts that a tokenizer.json would have.
struct PairParts {
  std::vector<PlacedToken> added_tokens;  ///< the special ones and those of "added_tokens_decoder"
  Json pre_tokenizer;
  Json post_processor;  ///< BOS and EOS around a text
};

/// `config` is tokenizer_config.json, or {}; `where` names it in messages. Special tokens are the named ones
/// ("bos_token", ..., any other "..._token", the objects "extra_special_tokens" or "model_specific_special_tokens") and
/// the lists "extra_special_tokens" or, where that is none, "additional_special_tokens"; of a token that is named twice
/// in different ways the last counts, but "added_tokens_decoder" comes before all (transformers 5.23, where decoding
/// leaves it out if any is special). Special tokens without an id are left out, where transformers gives them one
/// behind the vocabulary; a BOS that is to be added must have one, or it throws Error.
PairParts parts_of_pair(const Json& config, const BpeModel&, const std::string& where);

}  // namespace headscope
