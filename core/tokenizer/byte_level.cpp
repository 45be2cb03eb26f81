#include "core/tokenizer/byte_level.h"

#include <array>
#include <cstdint>

#include "core/base/text.h"
#include "core/tokenizer/unicode.h"

namespace headscope {
namespace {

constexpr bool stands_for_itself(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr std::array<char32_t, 256> make_alphabet() {
  std::array<char32_t, 256> alphabet{};
  char32_t next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) alphabet[byte] = stands_for_itself(byte) ? byte : next++;
  return alphabet;
}

constexpr std::array<char32_t, 256> alphabet = make_alphabet();
constexpr char32_t alphabet_end = 0x144;  // 256 + the 68 bytes that do not stand for themselves

constexpr std::array<int16_t, alphabet_end> make_inverse() {
  std::array<int16_t, alphabet_end> inverse{};
  inverse.fill(-1);
  for (int16_t byte = 0; byte < 256; ++byte) inverse[alphabet[static_cast<size_t>(byte)]] = byte;
  return inverse;
}

constexpr std::array<int16_t, alphabet_end> inverse_alphabet = make_inverse();

}  // namespace

void append_byte_level(std::string& out, std::string_view bytes) {
  for (const char byte : bytes) {
    const char32_t code = alphabet[static_cast<unsigned char>(byte)];
    if (code < 0x80) {
      out += static_cast<char>(code);
    } else {
      append_utf8(out, code);
    }
  }
}

std::optional<std::string> byte_level_bytes(std::string_view token) {
  std::string out;
  for (size_t i = 0; i < token.size();) {
    const char32_t code = decode_utf8(token, i);
    if (code >= alphabet_end || inverse_alphabet[code] < 0) return std::nullopt;
    out += static_cast<char>(inverse_alphabet[code]);
  }
  return out;
}

}  // namespace headscope
