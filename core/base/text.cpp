#include "core/base/text.h"

#include <algorithm>
#include <array>
#include <charconv>

#include <fmt/format.h>

#include "core/base/error.h"

namespace headscope {

std::string format_count(uint64_t value) {
  std::string digits = std::to_string(value);
  for (size_t i = digits.size(); i > 3; i -= 3) digits.insert(i - 3, 1, ',');
  return digits;
}

namespace {

/// Three digits in the first of `units`, each `step` times the one before, in which less than `step` are left.
std::string scaled(uint64_t bytes, double step, const std::array<std::string_view, 6>& units) {
  double value = static_cast<double>(bytes) / step;
  size_t unit = 0;
  for (; value >= step - 0.5 && unit + 1 < units.size(); ++unit) value /= step;
  // The bounds are where rounding would add a fourth digit.
  const int decimals = value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  if (value >= 999.5) return fmt::format("{} {}", format_count(static_cast<uint64_t>(value + 0.5)), units[unit]);
  return fmt::format("{:.{}f} {}", value, decimals, units[unit]);
}

}  // namespace

std::string format_bytes(uint64_t bytes) {
  if (bytes < 10 * 1024) return format_count(bytes) + " B";
  return scaled(bytes, 1024, {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"});
}

std::string format_decimal_bytes(uint64_t bytes) {
  if (bytes < 10'000) return format_count(bytes) + " B";
  return scaled(bytes, 1000, {"kB", "MB", "GB", "TB", "PB", "EB"});
}

int64_t parse_bytes(std::string_view text, std::string_view option) {
  static constexpr std::array<std::pair<std::string_view, int64_t>, 10> units{{{"", 0},
                                                                               {"KiB", int64_t{1} << 10},
                                                                               {"MiB", int64_t{1} << 20},
                                                                               {"GiB", int64_t{1} << 30},
                                                                               {"TiB", int64_t{1} << 40},
                                                                               {"kB", 1000},
                                                                               {"KB", 1000},
                                                                               {"MB", 1000000},
                                                                               {"GB", 1000000000},
                                                                               {"TB", 1000000000000}}};
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  const auto found = std::find_if(units.begin(), units.end(), [&](const auto& one) { return one.first == unit; });
  const bool size = error == std::errc() && found != units.end() && number >= 0 && (number == 0 || found->second > 0);
  if (!size || number * static_cast<double>(found->second) > 1e18) {
    throw UsageError(fmt::format("{} {} must be a size as in 2GiB, 500MB or 0", option, quoted(text)));
  }
  return static_cast<int64_t>(number * static_cast<double>(found->second));
}

namespace {

/// Length of the sequence that `lead` begins, and the smallest code point it may encode; 0 for no lead byte.
struct Sequence {
  size_t length;
  char32_t smallest;
};

Sequence sequence_of(unsigned char lead) {
  if (lead < 0x80) return {1, 0};
  if (lead >= 0xC2 && lead <= 0xDF) return {2, 0x80};
  if (lead >= 0xE0 && lead <= 0xEF) return {3, 0x800};
  if (lead >= 0xF0 && lead <= 0xF4) return {4, 0x10000};
  return {0, 0};
}

}  // namespace

char32_t decode_utf8(std::string_view text, size_t& position) {
  const auto lead = static_cast<unsigned char>(text[position]);
  const auto [length, smallest] = sequence_of(lead);
  const size_t begin = position++;
  if (length == 0 || length > text.size() - begin) return invalid_code_point;
  if (length == 1) return lead;
  char32_t code = lead & (0x7Fu >> length);
  for (size_t i = 1; i < length; ++i) {
    const auto byte = static_cast<unsigned char>(text[begin + i]);
    if ((byte & 0xC0) != 0x80) return invalid_code_point;
    code = code << 6 | (byte & 0x3F);
  }
  const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
  if (code < smallest || surrogate || code > 0x10FFFF) return invalid_code_point;
  position = begin + length;
  return code;
}

size_t valid_utf8_prefix(std::string_view text) {
  size_t position = 0;
  while (position < text.size()) {
    if (static_cast<unsigned char>(text[position]) < 0x80) {
      ++position;
      continue;
    }
    const size_t begin = position;
    if (decode_utf8(text, position) == invalid_code_point) return begin;
  }
  return position;
}

void append_utf8(std::string& out, char32_t c) {
  const auto put = [&](char32_t byte) { out += static_cast<char>(static_cast<unsigned char>(byte)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | c >> 6), put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | c >> 12), put(0x80 | (c >> 6 & 0x3F)), put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | c >> 18), put(0x80 | (c >> 12 & 0x3F)), put(0x80 | (c >> 6 & 0x3F)), put(0x80 | (c & 0x3F));
  }
}

}  // namespace headscope
