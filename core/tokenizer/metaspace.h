#pragma once

#include <string>

#include "core/tokenizer/component.h"

namespace headscope {

/// SentencePiece's convention of writing spaces as a visible character, as pre-tokenizer and decoder both state it.
struct Metaspace {
  enum class Prepend { always, never, first };
  std::string replacement;  ///< one character, usually U+2581
  Prepend prepend = Prepend::always;
  bool split = true;

  /// Throws Error for fields that contradict each other.
  static Metaspace from(const Component&);
};

}  // namespace headscope
