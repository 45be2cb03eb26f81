#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/io/checkpoint.h"

namespace headscope {

/// Text to token ids and back, as a Hugging Face tokenizer.json (BPE) states it; ids are equal to those of the
/// Python `tokenizers` package (0.23). Immutable after construction and safe to share between threads.
///
/// Known differences: characters newer than Unicode 14 (4,577 in Unicode 15 and 15.1) have no letter, number or
/// space properties here, so that pre-tokenizer patterns may cut around them elsewhere; NFC orders all combining marks
/// of Unicode 15, where the package leaves those newer than about Unicode 9 in the order of the text; "truncation" and
/// "padding" of the file are not applied (transformers switches them off, too); files the package repairs silently
/// (added tokens whose id is not the one it would give, part of the byte tokens missing) are refused; decoding leaves
/// out special tokens also where the normalizer changes their name, which the package then shows.
class Tokenizer {
 public:
  /// Builds from tokenizer.json text, or from vocab.json + merges.txt (GPT-2's byte-level BPE) with the special tokens
  /// that tokenizer_config.json names, or <|endoftext|> without one, as far as they have an id. Throws Error,
  /// naming `source` (the model's path) and the component, for anything not supported.
  static Tokenizer from_files(const TokenizerFiles&, std::string_view source);

  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  /// Ids of UTF-8 text. Text of special tokens ("<s>") in the input becomes those tokens, as in Python. With
  /// `add_special`, the file's template (BOS, ...) is applied. Throws Error for text that is not UTF-8, for more than
  /// 64 MiB and for regular expressions that take too long on this text. Ids appear in the order of the text.
  std::vector<int32_t> encode(std::string_view utf8, bool add_special = true) const;

  /// The text of `ids`; incomplete UTF-8 becomes U+FFFD as in Python. Ids without a token are left out.
  std::string decode(std::span<const int32_t> ids, bool skip_special = true) const;

  /// For each id, the text it covers, valid UTF-8: bytes of a character that is split between tokens are
  /// written "<0xE2>"; added tokens are their literal name, ids without a token "<id 123>". No stripping: joining the
  /// pieces of an encoded text gives the normalised text, with spaces for "\u2581" where the decoder says so.
  std::vector<std::string> pieces(std::span<const int32_t> ids) const;

  bool is_special(int32_t id) const;
  /// Largest id + 1 (ids may have gaps).
  int64_t vocab_size() const;
  bool contains(int32_t id) const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<const Impl>);
  std::unique_ptr<const Impl> impl_;
};

}  // namespace headscope
