// Random damage: a changed tokenizer file either loads or is refused, and whatever loads encodes any text.
#include <random>

#include "tests/unit/tokenizer_support.h"

namespace headscope {
namespace {

using namespace tokenizer_test;
using Random = std::mt19937;

/// Small files that together use every component.
std::vector<Json> seeds() {
  Json flags = byte_level_file();
  flags["normalizer"] = Json::parse(R"({"type": "Sequence", "normalizers": [{"type": "NFC"},
    {"type": "Replace", "pattern": {"Regex": "[0-9]{2,}"}, "content": "#"}, {"type": "Prepend", "prepend": " "}]})");
  flags["pre_tokenizer"] = Json::parse(R"json({"type": "Sequence", "pretokenizers": [
    {"type": "Split", "pattern": {"Regex": "\\p{N}{1,3}| ?[^\\s\\p{L}]+(?!\\S)"}, "behavior": "Isolated", "invert": false},
    {"type": "Digits", "individual_digits": true},
    {"type": "ByteLevel", "add_prefix_space": true, "use_regex": true, "trim_offsets": true}]})json");
  flags["added_tokens"] = {added(256, "<s>"), added(257, "<m>", {{"lstrip", true}, {"rstrip", true}}),
                           added(258, "éa", {{"normalized", true}, {"single_word", true}})};
  Json llama = small_file();
  llama["pre_tokenizer"] = Json::parse(R"({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first"})");
  for (int byte = 0; byte < 256; ++byte) llama["model"]["vocab"][fmt::format("<0x{:02X}>", byte)] = 7 + byte;
  llama["model"]["byte_fallback"] = true;
  llama["model"]["unk_token"] = "x";
  llama["decoder"] = Json::parse(R"({"type": "Sequence", "decoders": [
    {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
    {"type": "Strip", "content": " ", "start": 1, "stop": 0}]})");
  llama["post_processor"] = Json::parse(R"({"type": "TemplateProcessing", "pair": [], "special_tokens":
    {"B": {"id": "B", "ids": [6]}}, "single": [{"SpecialToken": {"id": "B"}}, {"Sequence": {"id": "A"}}]})");
  Json cut = small_file();
  cut["pre_tokenizer"] = Json::parse(R"({"type": "Split", "pattern": {"String": "a"}, "behavior": "MergedWithNext"})");
  return {flags, llama, cut};
}

std::string random_text(Random& random) {
  static const Texts atoms{"a",     "b",   "c",   " ", "  ", "\n", "é", "e\u0301", "\u0323", "1",
                           "23",    "<s>", "<m>", "▁", "😀",  "中", "x", "ab",      "!",      std::string(1, '\0'),
                           "\u200d"};
  std::string text;
  for (size_t n = random() % 20; n > 0; --n) text += atoms[random() % atoms.size()];
  return text;
}

std::string damaged(std::string text, Random& random) {
  static const Texts parts{"\"", "{",          "}",     "[",         "]",         ",",  ":",       "null",     "true",
                           "-1", "4294967296", "1e99",  "\\u0000",   "a",         "ab", "(?:a+)+", "\\\\p{L}", "[^",
                           "*",  "Sequence",   "Regex", "ByteLevel", "Metaspace", "▁",  "\xFF"};
  for (size_t n = 1 + random() % 3; n > 0; --n) {
    const size_t at = random() % text.size();
    switch (random() % 4) {
      case 0:
        text[at] = static_cast<char>(random());
        break;
      case 1:
        text.erase(at, 1 + random() % 8);
        break;
      case 2:
        text.insert(at, parts[random() % parts.size()]);
        break;
      default:
        text.insert(at, text.substr(random() % text.size(), random() % 30));
        break;
    }
    if (text.empty()) text = " ";
  }
  return text;
}

/// A second damage that keeps the JSON well formed: one value anywhere becomes another.
void damage_value(Json& json, Random& random) {
  static const std::vector<Json> values{nullptr, true, 0,   -1,  7,      4294967296,    1.5,
                                        "",      "a",  "▁", "(", "\\s*", Json::array(), Json::object()};
  if (!json.is_structured() || json.empty() || random() % 6 == 0) {
    json = values[random() % values.size()];
  } else {
    auto member = json.begin();
    std::advance(member, static_cast<std::ptrdiff_t>(random() % json.size()));
    damage_value(*member, random);
  }
}

/// Loads, encodes and decodes; only Error may come out.
bool survives(const std::string& file, Random& random) {
  try {
    const Tokenizer tokenizer = load(file);
    for (int i = 0; i < 3; ++i) {
      const Ids ids = tokenizer.encode(random_text(random));
      tokenizer.decode(ids);
      tokenizer.pieces(ids);
    }
    return true;
  } catch (const Error& error) {
    EXPECT_STRNE(error.what(), "");
    return false;
  }
}

TEST(TokenizerMutation, DamagedFilesLoadOrAreRefused) {
  Random random(11);
  size_t loaded = 0, refused = 0;
  for (const Json& seed : seeds()) {
    const std::string text = seed.dump();
    ASSERT_TRUE(survives(text, random));
    // Damage near the vocabulary teaches little: it is most of the text.
    Json without_vocab = seed;
    without_vocab["model"]["vocab"] = small_file()["model"]["vocab"];
    without_vocab["model"]["byte_fallback"] = false;
    without_vocab["model"]["merges"] = small_file()["model"]["merges"];
    without_vocab["added_tokens"] = Json::array();
    const std::string shorter = without_vocab.dump();
    for (int round = 0; round < 1500; ++round) {
      ++(survives(damaged(round % 4 ? shorter : text, random), random) ? loaded : refused);
      Json changed = round % 4 ? without_vocab : seed;
      damage_value(changed, random);
      ++(survives(changed.dump(), random) ? loaded : refused);
    }
  }
  EXPECT_GT(loaded, 300u);
  EXPECT_GT(refused, 300u);
}

TEST(TokenizerMutation, RandomBytesAreEncodedOrRefused) {
  Random random(12);
  const Tokenizer tokenizer = load(seeds()[0]);
  size_t refused = 0;
  for (int round = 0; round < 5000; ++round) {
    std::string text = random_text(random);
    for (size_t n = random() % 3; n > 0; --n) text.insert(random() % (text.size() + 1), 1, static_cast<char>(random()));
    try {
      tokenizer.pieces(tokenizer.encode(text));
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 500u);
}

TEST(TokenizerMutation, ByteLevelLosesNothing) {
  Random random(13);
  Json file = byte_level_file();
  file["added_tokens"] = {added(256, "<s>"), added(257, "ab", {{"special", false}})};
  const Tokenizer tokenizer = load(file);
  for (int round = 0; round < 5000; ++round) {
    const std::string text = random_text(random);
    const Ids ids = tokenizer.encode(text);
    ASSERT_EQ(tokenizer.decode(ids, false), text);
  }
}

TEST(TokenizerMutation, RandomIdsAreDecoded) {
  Random random(14);
  for (const Json& seed : seeds()) {
    const Tokenizer tokenizer = load(seed);
    for (int round = 0; round < 1000; ++round) {
      Ids ids(random() % 12);
      for (int32_t& id : ids) id = static_cast<int32_t>(random() % 300) - 2;
      const std::string text = tokenizer.decode(ids);
      EXPECT_EQ(tokenizer.pieces(ids).size(), ids.size());
      // What was decoded is UTF-8 and can be encoded again.
      tokenizer.encode(text);
    }
  }
}

}  // namespace
}  // namespace headscope
