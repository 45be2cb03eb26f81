#pragma once

#include <string>
#include <string_view>

#include "core/io/json.h"
#include "core/tokenizer/bpe.h"

namespace headscope {

/// What transformers' GPT2Tokenizer adds to vocab.json and merges.txt, as the parts that a tokenizer.json would have:
/// "added_tokens" (the special ones), "pre_tokenizer" and "post_processor" (BOS and EOS around a text).
/// `config` is tokenizer_config.json, or {}; `where` names it in messages. Special tokens without an id are left out,
/// where transformers gives them one behind the vocabulary; a BOS that is to be added must have one, or it throws
/// Error.
Json parts_of_pair(const Json& config, const BpeModel&, const std::string& where);

}  // namespace headscope
