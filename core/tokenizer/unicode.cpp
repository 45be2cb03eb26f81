#include "core/tokenizer/unicode.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include <utf8proc.h>

#include "core/base/error.h"
#include "core/base/text.h"

namespace headscope {
namespace {

/// Canonical decomposition without the reordering of marks.
std::vector<utf8proc_int32_t> decompose(std::string_view text) {
  std::vector<utf8proc_int32_t> out;
  out.reserve(text.size());
  std::array<utf8proc_int32_t, 32> buffer;  // the longest canonical decomposition has 4 code points
  int boundary = UTF8PROC_BOUNDCLASS_START;
  for (size_t i = 0; i < text.size();) {
    const auto code = static_cast<utf8proc_int32_t>(decode_utf8(text, i));
    const auto count = utf8proc_decompose_char(code, buffer.data(), buffer.size(), UTF8PROC_DECOMPOSE, &boundary);
    if (count < 0 || count > static_cast<utf8proc_ssize_t>(buffer.size())) {
      fail("a character of the text cannot be normalised: {}", utf8proc_errmsg(count));
    }
    out.insert(out.end(), buffer.begin(), buffer.begin() + count);
  }
  return out;
}

/// Sorts each run of combining marks by class, equal ones in their order. utf8proc's own sort takes quadratic time.
void order_marks(std::vector<utf8proc_int32_t>& codes) {
  const auto mark_class = [](utf8proc_int32_t code) { return utf8proc_get_property(code)->combining_class; };
  for (size_t begin = 0; begin < codes.size(); ++begin) {
    if (mark_class(codes[begin]) == 0) continue;
    size_t end = begin + 1;
    while (end < codes.size() && mark_class(codes[end]) != 0) ++end;
    std::stable_sort(codes.begin() + static_cast<std::ptrdiff_t>(begin),
                     codes.begin() + static_cast<std::ptrdiff_t>(end),
                     [&](utf8proc_int32_t a, utf8proc_int32_t b) { return mark_class(a) < mark_class(b); });
    begin = end;
  }
}

/// Length of the longest beginning of `bytes` from `position` that some character starts with: 1 for a stray byte.
size_t broken_length(std::string_view bytes, size_t position) {
  const auto at = [&](size_t i) { return i < bytes.size() ? static_cast<unsigned char>(bytes[i]) : 0u; };
  const unsigned lead = at(position);
  size_t wanted = 0;
  unsigned low = 0x80, high = 0xBF;  // what the second byte may be
  if (lead >= 0xC2 && lead <= 0xDF) wanted = 2;
  if (lead >= 0xE0 && lead <= 0xEF) wanted = 3;
  if (lead >= 0xF0 && lead <= 0xF4) wanted = 4;
  if (lead == 0xE0) low = 0xA0;
  if (lead == 0xED) high = 0x9F;
  if (lead == 0xF0) low = 0x90;
  if (lead == 0xF4) high = 0x8F;
  size_t length = 1;
  while (length < wanted && at(position + length) >= low && at(position + length) <= high) {
    ++length;
    low = 0x80, high = 0xBF;
  }
  return length;
}

/// Copies whole characters; `broken` writes the bytes [begin, end) that are none.
template <class Broken>
std::string repaired(std::string_view bytes, const Broken& broken) {
  std::string out;
  out.reserve(bytes.size());
  for (size_t i = 0; i < bytes.size();) {
    const size_t begin = i;
    if (decode_utf8(bytes, i) != invalid_code_point) {
      out += bytes.substr(begin, i - begin);
    } else {
      i = begin + broken_length(bytes, begin);
      broken(out, bytes.substr(begin, i - begin));
    }
  }
  return out;
}

using CodeRange = std::pair<char32_t, char32_t>;

/// Punctuation that came to Unicode after version 8, ascending.
constexpr auto newer_punctuation = std::to_array<CodeRange>({
    {0x61D, 0x61D},     {0x9FD, 0x9FD},     {0xA76, 0xA76},     {0xC77, 0xC77},     {0xC84, 0xC84},
    {0x1B7D, 0x1B7E},   {0x2E43, 0x2E5D},   {0x10EAD, 0x10EAD}, {0x10F55, 0x10F59}, {0x10F86, 0x10F89},
    {0x1144B, 0x1144F}, {0x1145A, 0x1145D}, {0x11660, 0x1166C}, {0x116B9, 0x116B9}, {0x1183B, 0x1183B},
    {0x11944, 0x11946}, {0x119E2, 0x119E2}, {0x11A3F, 0x11A46}, {0x11A9A, 0x11AA2}, {0x11B00, 0x11B09},
    {0x11C41, 0x11C45}, {0x11C70, 0x11C71}, {0x11EF7, 0x11EF8}, {0x11F43, 0x11F4F}, {0x11FFF, 0x11FFF},
    {0x12FF1, 0x12FF2}, {0x16E97, 0x16E9A}, {0x16FE2, 0x16FE2}, {0x1E95E, 0x1E95F},
});

}  // namespace

std::string nfc(std::string_view text) {
  // Everything below U+0300 is in form C already, and its UTF-8 begins with a byte below 0xCC.
  if (std::all_of(text.begin(), text.end(), [](unsigned char byte) { return byte < 0xCC; })) return std::string(text);
  std::vector<utf8proc_int32_t> codes = decompose(text);
  order_marks(codes);
  const auto count = utf8proc_normalize_utf32(codes.data(), static_cast<utf8proc_ssize_t>(codes.size()),
                                              static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  if (count < 0) fail("the text cannot be normalised: {}", utf8proc_errmsg(count));
  codes.resize(static_cast<size_t>(count));
  std::string out;
  out.reserve(text.size());
  for (const utf8proc_int32_t code : codes) append_utf8(out, static_cast<char32_t>(code));
  return out;
}

bool is_white_space(char32_t code) {
  return (code >= 0x09 && code <= 0x0D) || code == 0x20 || code == 0x85 || code == 0xA0 || code == 0x1680 ||
         (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F ||
         code == 0x3000;
}

bool is_word_character(char32_t code) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(code))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      break;
  }
  // Letters in circles and squares are symbols, yet Alphabetic.
  const bool enclosed_letter = (code >= 0x24B6 && code <= 0x24E9) || (code >= 0x1F130 && code <= 0x1F149) ||
                               (code >= 0x1F150 && code <= 0x1F169) || (code >= 0x1F170 && code <= 0x1F189);
  return enclosed_letter || code == 0x200C || code == 0x200D;
}

bool is_number(char32_t code) {
  const utf8proc_category_t category = utf8proc_category(static_cast<utf8proc_int32_t>(code));
  return category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL || category == UTF8PROC_CATEGORY_NO;
}

bool is_punctuation(char32_t code) {
  const bool letter_or_digit =
      (code >= '0' && code <= '9') || (code >= 'A' && code <= 'Z') || (code >= 'a' && code <= 'z');
  if (code < 0x80) return code > ' ' && code != 0x7F && !letter_or_digit;
  if (code == 0x166D || code == 0x111C9) return true;  // other categories today
  const utf8proc_category_t category = utf8proc_category(static_cast<utf8proc_int32_t>(code));
  if (category < UTF8PROC_CATEGORY_PC || category > UTF8PROC_CATEGORY_PO) return false;
  const auto range = std::lower_bound(newer_punctuation.begin(), newer_punctuation.end(), code,
                                      [](const auto& r, char32_t c) { return r.second < c; });
  return range == newer_punctuation.end() || code < range->first;
}

size_t utf8_length(std::string_view text, size_t position) {
  const size_t begin = position;
  decode_utf8(text, position);
  return position - begin;
}

size_t last_character(std::string_view text) {
  size_t position = text.size() - 1;
  while (position > 0 && (static_cast<unsigned char>(text[position]) & 0xC0) == 0x80) --position;
  return position;
}

std::string utf8_with_replacements(std::string_view bytes) {
  return repaired(bytes, [](std::string& out, std::string_view) { out += "\xEF\xBF\xBD"; });
}

std::string utf8_with_hex(std::string_view bytes) {
  return repaired(bytes, [](std::string& out, std::string_view broken) {
    for (const char byte : broken) out += fmt::format("<0x{:02X}>", static_cast<unsigned char>(byte));
  });
}

}  // namespace headscope
