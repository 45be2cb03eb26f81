#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/tokenizer/component.h"

namespace headscope {

/// The "post_processor" of a tokenizer file: null, ByteLevel (which changes no ids), TemplateProcessing or a Sequence
/// with at most one template. Only the template for one text is used.
class PostProcessor {
 public:
  /// Adds nothing.
  PostProcessor() = default;
  explicit PostProcessor(const Component&);

  /// The template filled with `ids`; without `add_special` its special tokens are left out.
  std::vector<int32_t> apply(std::vector<int32_t> ids, bool add_special) const;

  /// Ids of the special tokens the template adds.
  std::vector<int32_t> special_ids() const;

 private:
  /// The text, or the ids of a special token.
  struct Piece {
    bool is_text = false;
    std::vector<int32_t> ids;
  };
  void add(const Component&);
  static Piece piece_of(const Component& piece, const Component& tokens);

  std::optional<std::vector<Piece>> template_;
};

}  // namespace headscope
