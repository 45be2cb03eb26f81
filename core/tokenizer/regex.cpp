#include "core/tokenizer/regex.h"

#include <array>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "core/base/error.h"
#include "core/tokenizer/oniguruma.h"

namespace headscope {
namespace {

constexpr size_t longest_pattern = 64 * 1024;
constexpr uint32_t match_limit = 10'000'000;
constexpr uint32_t heap_limit_kib = 64 * 1024;

struct Free {
  void operator()(pcre2_code* p) const { pcre2_code_free(p); }
  void operator()(pcre2_compile_context* p) const { pcre2_compile_context_free(p); }
  void operator()(pcre2_match_context* p) const { pcre2_match_context_free(p); }
  void operator()(pcre2_match_data* p) const { pcre2_match_data_free(p); }
};
template <class T>
using Owned = std::unique_ptr<T, Free>;

std::string message_of(int error) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(error, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

PCRE2_SPTR units(std::string_view text) {
  // PCRE2 refuses a null pointer even for an empty text.
  return reinterpret_cast<PCRE2_SPTR>(text.data() ? text.data() : "");
}

}  // namespace

struct Regex::Code {
  Owned<pcre2_code> code;
  Owned<pcre2_match_context> limits;
  std::string pattern, where;
};

struct Regex::Search::Work {
  Owned<pcre2_match_data> data;
};

Regex::Regex(std::string_view oniguruma, std::string where) {
  if (oniguruma.size() > longest_pattern) {
    fail("{}: the regular expression has {} bytes; at most {} are supported", where, oniguruma.size(), longest_pattern);
  }
  const std::string pattern = pcre2_pattern(oniguruma, where);
  const Owned<pcre2_compile_context> context(pcre2_compile_context_create(nullptr));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE offset = 0;
  Owned<pcre2_code> code(pcre2_compile(units(pattern), pattern.size(), PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C,
                                       &error, &offset, context.get()));
  if (!code) fail("{}: the regular expression {} is wrong: {}", where, quoted(oniguruma), message_of(error));
  // Without JIT (a locked-down machine) the same code runs in the interpreter, only slower.
  pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);
  Owned<pcre2_match_context> limits(pcre2_match_context_create(nullptr));
  if (!limits) throw std::bad_alloc();
  pcre2_set_match_limit(limits.get(), match_limit);
  pcre2_set_heap_limit(limits.get(), heap_limit_kib);
  code_ =
      std::make_unique<const Code>(Code{std::move(code), std::move(limits), std::string(oniguruma), std::move(where)});
}

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

Regex::Search::Search(const Regex& regex, std::string_view text, const Budget& budget)
    : regex_(regex), text_(text), budget_(budget), work_(std::make_unique<Work>()) {
  work_->data.reset(pcre2_match_data_create(1, nullptr));
  if (!work_->data) throw std::bad_alloc();
}

Regex::Search::~Search() = default;

std::optional<std::pair<size_t, size_t>> Regex::Search::find(size_t from) {
  const Code& code = *regex_.code_;
  pcre2_match_data* const data = work_->data.get();
  const auto match = [&](uint32_t options) {
    return pcre2_match(code.code.get(), units(text_), text_.size(), from, options, data, code.limits.get());
  };
  int found = match(PCRE2_NO_UTF_CHECK);
  // JIT code uses a small fixed stack; the interpreter keeps its frames on the heap.
  if (found == PCRE2_ERROR_JIT_STACKLIMIT) found = match(PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT);
  if (found == PCRE2_ERROR_NOMATCH) return std::nullopt;
  const bool limited = found == PCRE2_ERROR_MATCHLIMIT || found == PCRE2_ERROR_HEAPLIMIT || budget_.time_is_spent();
  if (limited) {
    fail("{}: the regular expression {} takes too long on this text; give a shorter text, or token ids with --ids",
         code.where, quoted(code.pattern));
  }
  // 0: the pattern has more groups than the one pair asked for.
  if (found < 0) fail("{}: the regular expression {} failed: {}", code.where, quoted(code.pattern), message_of(found));
  const PCRE2_SIZE* const pair = pcre2_get_ovector_pointer(data);
  return std::pair(pair[0], pair[1]);
}

}  // namespace headscope
