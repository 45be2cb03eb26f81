#pragma once

#include <cstdint>

namespace headscope {

/// Larger texts are refused before they are read, in a folder as in an .h5.
inline constexpr uint64_t largest_config = 16u << 20;     ///< bytes
inline constexpr uint64_t largest_tokenizer = 64u << 20;  ///< bytes; the largest in use are about 35 MB

}  // namespace headscope
