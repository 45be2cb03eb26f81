#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/tokenizer/pattern.h"

namespace headscope {

/// The "normalizer" of a tokenizer file: null, NFC, Prepend, Replace or a Sequence of these, as a flat list of steps.
class Normalizer {
 public:
  /// Changes nothing.
  Normalizer() = default;
  explicit Normalizer(const Component&);

  std::string normalize(std::string_view text, const Budget&) const;

 private:
  enum class Kind { nfc, prepend, replace };
  struct Step {
    Kind kind;
    std::string content;             ///< what is put before the text or in place of a match
    std::optional<Pattern> pattern;  ///< for replace
  };
  void add(const Component&);

  std::vector<Step> steps_;
};

}  // namespace headscope
