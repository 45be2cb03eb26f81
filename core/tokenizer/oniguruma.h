#pragma once

#include <string>
#include <string_view>

namespace headscope {

/// Rewrites an Oniguruma pattern (Ruby syntax, Unicode), as tokenizer files hold, into a PCRE2 pattern that means
/// the same: \s is White_Space, ^ and $ are about lines, \p{Han} is the script, \v is one character.
/// What the two engines treat differently and tokenizers do not use (\w, \b, \h, POSIX brackets, classes inside
/// classes, &&, {n,m}+, inline options other than i, verbs, calls) throws Error "<where> ... not supported".
/// Not covered: under (?i), Oniguruma also lets one character match several letters ("ß" for "ss").
std::string pcre2_pattern(std::string_view oniguruma, std::string_view where);

}  // namespace headscope
