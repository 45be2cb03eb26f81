#pragma once

#include <string>
#include <string_view>

namespace headscope {

/// Text below is valid UTF-8 unless said otherwise. utf8proc 2.8 knows Unicode 15.

/// Unicode normalisation form C, in n log n time whatever the combining marks are.
std::string nfc(std::string_view text);

/// White_Space: what Oniguruma and Rust's regex mean by \s.
bool is_white_space(char32_t code);
/// What Rust's regex means by \w: Alphabetic, marks, decimal digits, connector punctuation, the two joiners.
bool is_word_character(char32_t code);
/// General category N (Nd, Nl, No).
bool is_number(char32_t code);
/// ASCII's signs, and general category P as Unicode 8 had it, which is what the Python package knows.
bool is_punctuation(char32_t code);

/// Length in bytes of the character that begins at `position`.
size_t utf8_length(std::string_view text, size_t position);
/// Start of the last character of a text that is not empty.
size_t last_character(std::string_view text);

/// `bytes` as UTF-8; each longest beginning of a character that is not continued becomes one U+FFFD, as in Rust's
/// String::from_utf8_lossy.
std::string utf8_with_replacements(std::string_view bytes);

/// `bytes` as UTF-8; each byte that is no part of a whole character is written "<0xE2>".
std::string utf8_with_hex(std::string_view bytes);

}  // namespace headscope
