#pragma once

#include <chrono>
#include <cstddef>

#include "core/base/error.h"

namespace headscope {

/// What one call may spend. A hostile tokenizer file (nested quantifiers, a normalizer that doubles the text again
/// and again) ends in an Error instead of a hang.
class Budget {
 public:
  /// For work on `bytes` of text: three seconds, and one for each MiB, of which a real tokenizer needs a tenth.
  explicit Budget(size_t bytes) : end_(std::chrono::steady_clock::now() + time_for(bytes)) {}

  bool time_is_spent() const { return std::chrono::steady_clock::now() > end_; }
  /// Throws when an intermediate text has become this large.
  void check_size(size_t bytes) const {
    if (bytes > largest_text) {
      fail("the tokenizer makes more than {} MiB of this text; give a shorter text, or token ids with --ids",
           largest_text >> 20);
    }
  }

  static constexpr size_t largest_text = size_t{64} << 20;

 private:
  static std::chrono::milliseconds time_for(size_t bytes) {
    return std::chrono::seconds(3) + std::chrono::milliseconds(bytes / 1024);
  }
  std::chrono::steady_clock::time_point end_;
};

}  // namespace headscope
