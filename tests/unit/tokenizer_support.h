#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/io/json.h"
#include "core/tokenizer/tokenizer.h"

namespace headscope::tokenizer_test {

using Ids = std::vector<int32_t>;
using Texts = std::vector<std::string>;

/// A tokenizer.json with the letters a, b, c, their merges ab and abc, U+2581 and x, and nothing else.
inline Json small_file() {
  return Json::parse(R"({
    "version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": null, "post_processor": null,
    "decoder": {"type": "Fuse"},
    "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
              "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
              "vocab": {"a": 0, "b": 1, "c": 2, "ab": 3, "abc": 4, "▁": 5, "x": 6},
              "merges": [["a", "b"], ["ab", "c"]]}})");
}

/// The same with a byte-level vocabulary without merges: id = byte.
Json byte_level_file();

inline Tokenizer load(const std::string& text) {
  TokenizerFiles files;
  files.tokenizer_json = text;
  return Tokenizer::from_files(files, "models/m");
}
inline Tokenizer load(const Json& file) { return load(file.dump()); }

inline Json added(int64_t id, const std::string& content, const Json& flags = Json::object()) {
  Json token{{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
             {"rstrip", false}, {"normalized", false}, {"special", true}};
  token.update(flags);
  return token;
}

/// The message of the Error that `call` throws; a failure of the test when it throws none.
template <class Call>
std::string error_of(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}
inline std::string load_error(const Json& file) {
  return error_of([&] { load(file); });
}

inline std::filesystem::path real_data(const std::string& name) {
  return std::filesystem::path(HEADSCOPE_REAL_DATA) / name;
}

}  // namespace headscope::tokenizer_test

/// Ends the test as skipped, with the reason, where the real data is absent.
#define HEADSCOPE_NEED_REAL_DATA(name)                                                                  \
  if (!std::filesystem::exists(headscope::tokenizer_test::real_data(name))) {                           \
    GTEST_SKIP() << "SKIPPED: " << headscope::tokenizer_test::real_data(name).string() << " is absent"; \
  }
