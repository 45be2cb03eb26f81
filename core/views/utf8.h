#pragma once

#include <cstddef>
#include <string_view>

namespace headscope {

inline constexpr char32_t replacement_character = 0xFFFD;

/// Reads the code point at `position` and moves past it. A byte that is not part of
/// UTF-8 gives U+FFFD and is skipped alone. `position` must be below text.size().
char32_t next_code_point(std::string_view text, size_t& position);

}  // namespace headscope
