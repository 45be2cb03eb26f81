#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace headscope {

/// GPT-2's way to write bytes as visible characters: the 188 printable bytes of Latin-1 stand for themselves, the
/// others, in order, for U+0100 and up. (Radford et al. 2019, encoder.py: bytes_to_unicode.)

/// Appends `bytes` in that alphabet.
void append_byte_level(std::string& out, std::string_view bytes);

/// The bytes a token of that alphabet stands for; nothing if any character of it is outside the alphabet.
std::optional<std::string> byte_level_bytes(std::string_view token);

/// GPT-2's pattern that cuts text into words, in Oniguruma syntax.
inline constexpr std::string_view gpt2_word_pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

}  // namespace headscope
