#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "core/tokenizer/budget.h"

namespace headscope {

/// A compiled pattern (PCRE2, UTF-8, Unicode 14 properties). Immutable; safe to share between threads.
class Regex {
 public:
  /// `oniguruma` is in the syntax of tokenizer files. Throws Error, beginning with `where`, for a pattern that is
  /// wrong or not supported.
  Regex(std::string_view oniguruma, std::string where);
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

  /// Finds matches in one text; keeps PCRE2's work space between calls. `text` must be UTF-8 and outlive this. One
  /// thread at a time.
  class Search {
   public:
    Search(const Regex&, std::string_view text, const Budget&);
    ~Search();
    Search(const Search&) = delete;
    Search& operator=(const Search&) = delete;

    void set_text(std::string_view text) { text_ = text; }
    /// [begin, end) of the first match at or behind byte `from`, a character boundary. Throws Error when the match
    /// limit or the budget is used up.
    std::optional<std::pair<size_t, size_t>> find(size_t from);

   private:
    struct Work;
    const Regex& regex_;
    std::string_view text_;
    const Budget& budget_;
    std::unique_ptr<Work> work_;
  };

 private:
  struct Code;
  std::unique_ptr<const Code> code_;
};

}  // namespace headscope
