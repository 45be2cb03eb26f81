#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/tokenizer/added_tokens.h"
#include "core/tokenizer/bpe.h"
#include "core/tokenizer/component.h"

namespace headscope {

/// Field "model" of a tokenizer.json. Throws Error for models other than BPE.
BpeData read_bpe(const Component& model);

/// The entries of "added_tokens". The ids must be those that the Python package, which ignores the file's, would give:
/// that of an equal vocabulary entry, else the next free one.
std::vector<AddedToken> read_added_tokens(std::span<const Component> entries, const BpeModel&);

/// The older pair of files: vocab.json and merges.txt.
BpeData read_vocab_and_merges(std::string_view vocab_json, std::string_view merges_txt, std::string_view source);

/// A tokenizer.json may be larger than other JSON files.
inline constexpr JsonLimits tokenizer_json_limits{64u << 20, 64};

}  // namespace headscope
