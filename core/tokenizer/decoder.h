#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/tokenizer/metaspace.h"
#include "core/tokenizer/pattern.h"

namespace headscope {

/// The "decoder" of a tokenizer file: null, ByteLevel, ByteFallback, Fuse, Metaspace, Replace, Strip or a Sequence of
/// these, as a flat list of steps.
class Decoder {
 public:
  /// Joins tokens with spaces.
  Decoder() = default;
  explicit Decoder(const Component&);
  static Decoder byte_level();

  /// The text of the tokens, as the Python package decodes them.
  std::string decode(std::vector<std::string> tokens, const Budget&) const;

  /// What one token stands for, without joining or stripping: valid UTF-8, see Tokenizer::pieces.
  std::string piece(std::string_view token, const Budget&) const;

 private:
  struct ByteLevel {};
  struct ByteFallback {};
  struct Fuse {};
  struct Replace {
    Pattern pattern;
    std::string content;
  };
  struct Strip {
    std::string character;
    size_t start, stop;  ///< how many to take away at each end of every token, at most
  };
  using Step = std::variant<ByteLevel, ByteFallback, Fuse, Metaspace, Replace, Strip>;
  using Tokens = std::vector<std::string>;

  void add(const Component&);
  static void run(const ByteLevel&, Tokens&, const Budget&);
  static void run(const ByteFallback&, Tokens&, const Budget&);
  static void run(const Fuse&, Tokens&, const Budget&);
  static void run(const Metaspace&, Tokens&, const Budget&);
  static void run(const Replace&, Tokens&, const Budget&);
  static void run(const Strip&, Tokens&, const Budget&);

  bool joins_with_spaces_ = true;
  std::vector<Step> steps_;
};

}  // namespace headscope
