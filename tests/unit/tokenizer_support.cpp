#include "tests/unit/tokenizer_support.h"

#include "core/tokenizer/byte_level.h"

namespace headscope::tokenizer_test {

Json byte_level_file() {
  Json file = small_file();
  Json vocab = Json::object();
  for (int byte = 0; byte < 256; ++byte) {
    std::string token;
    append_byte_level(token, std::string(1, static_cast<char>(byte)));
    vocab[token] = byte;
  }
  file["model"]["vocab"] = vocab;
  file["model"]["merges"] = Json::array();
  file["pre_tokenizer"] = {{"type", "ByteLevel"}, {"add_prefix_space", false}};
  file["decoder"] = {{"type", "ByteLevel"}};
  return file;
}

}  // namespace headscope::tokenizer_test
