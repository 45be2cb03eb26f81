#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/tokenizer/added_tokens.h"
#include "core/tokenizer/bpe.h"
#include "core/tokenizer/component.h"

namespace headscope {

/// Field "model" of a tokenizer.json. Throws Error for models other than BPE.
BpeData read_bpe(const Component& model);

/// Field "added_tokens" (nullptr: none). The ids must be those that the Python package, which ignores the file's, would
/// give: that of an equal vocabulary entry, else the next free one.
std::vector<AddedToken> read_added_tokens(const Json* list, const BpeModel&, const std::string& where);

/// The older pair of files: vocab.json and merges.txt.
BpeData read_vocab_and_merges(std::string_view vocab_json, std::string_view merges_txt, std::string_view source);

/// A tokenizer.json may be larger than other JSON files.
inline constexpr JsonLimits tokenizer_json_limits{64u << 20, 64};

}  // namespace headscope
