// Encodes and decodes for tokenizer_oracle.py: tokenizer_dump PATH CASES.json prints what HeadScope makes of the cases.
// PATH is a tokenizer.json or a folder with vocab.json, merges.txt and perhaps tokenizer_config.json. CASES: {"texts":
// [...], "ids": [[...], ...]}.
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/tokenizer/tokenizer.h"

namespace {

using headscope::Json;

constexpr uint64_t largest_file = 256u << 20;

headscope::TokenizerFiles read_files(const std::filesystem::path& path) {
  headscope::TokenizerFiles files;
  if (std::filesystem::is_directory(path)) {
    files.vocab_json = headscope::read_small_file(path / "vocab.json", largest_file);
    files.merges_txt = headscope::read_small_file(path / "merges.txt", largest_file);
    if (const auto config = path / "tokenizer_config.json"; std::filesystem::exists(config)) {
      files.config_json = headscope::read_small_file(config, largest_file);
    }
  } else {
    files.tokenizer_json = headscope::read_small_file(path, largest_file);
  }
  return files;
}

Json describe_ids(const headscope::Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  return {{"ids", ids},
          {"decoded", tokenizer.decode(ids, true)},
          {"decoded_with_special", tokenizer.decode(ids, false)},
          {"pieces", tokenizer.pieces(ids)}};
}

void run(const std::filesystem::path& path, const std::filesystem::path& cases_file) {
  const auto tokenizer = headscope::Tokenizer::from_files(read_files(path), path.string());
  const Json cases = headscope::parse_json(headscope::read_small_file(cases_file, largest_file), cases_file.string(),
                                           {largest_file, 8});
  Json texts = Json::array(), ids = Json::array();
  for (const Json& text : cases.at("texts")) {
    const auto& utf8 = text.get_ref<const std::string&>();
    Json entry = describe_ids(tokenizer, tokenizer.encode(utf8));
    entry["plain"] = tokenizer.encode(utf8, false);
    texts.push_back(std::move(entry));
  }
  for (const Json& list : cases.at("ids")) ids.push_back(describe_ids(tokenizer, list.get<std::vector<int32_t>>()));
  const Json out{{"vocab_size", tokenizer.vocab_size()}, {"texts", std::move(texts)}, {"ids", std::move(ids)}};
  std::puts(out.dump().c_str());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fputs("usage: tokenizer_dump PATH CASES.json\n", stderr);
    return 1;
  }
  try {
    run(argv[1], argv[2]);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
}
