#include "core/views/utf8.h"

#include "core/base/text.h"

namespace headscope {

char32_t next_code_point(std::string_view text, size_t& position) {
  const char32_t c = decode_utf8(text, position);
  return c == invalid_code_point ? replacement_character : c;
}

}  // namespace headscope
