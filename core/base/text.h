#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace headscope {

/// "1,280": an exact count with thousands separators, the same in every locale.
std::string format_count(uint64_t value);

/// Bytes for people: exact below 10 KiB ("1,280 B"), else three digits in binary units ("75.0 KiB",
/// "4.50 GiB"; GiB is 2^30).
std::string format_bytes(uint64_t bytes);

/// The same in decimal units ("4.83 GB"; kB is 1,000, GB 10^9); exact below 10 kB.
std::string format_decimal_bytes(uint64_t bytes);

/// "2GiB", "500MB", "0": bytes. `option` is named in the UsageError for anything else, or more than 10^18.
int64_t parse_bytes(std::string_view text, std::string_view option);

/// What `decode_utf8` returns for bytes that are not UTF-8.
inline constexpr char32_t invalid_code_point = 0xFFFFFFFF;

/// Decodes the character at `position` (which must be inside `text`) and moves `position` behind it. Bytes that
/// are not UTF-8 (stray, cut, overlong, surrogate, beyond U+10FFFF) give `invalid_code_point` and move by one.
char32_t decode_utf8(std::string_view text, size_t& position);

/// Appends `code` (a Unicode scalar value) as UTF-8.
void append_utf8(std::string& out, char32_t code);

/// Position of the first byte that is not UTF-8; text.size() if all of it is.
size_t valid_utf8_prefix(std::string_view text);

}  // namespace headscope
