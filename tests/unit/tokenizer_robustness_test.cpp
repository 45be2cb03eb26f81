// Malformed tokenizer files and hostile texts: rows C1 to C16 of the table of bad inputs, the row in each name.
#include <ctime>

#include "tests/unit/tokenizer_support.h"

namespace headscope {
namespace {

using namespace tokenizer_test;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

constexpr const char* ids_hint = "token ids can still be given with --ids";

double cpu_seconds_since(std::clock_t begin) { return static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC; }

TEST(TokenizerRobustness, C1MergesAsStringsOrPairs) {
  Json file = small_file();
  file["model"]["merges"] = {"a b", "ab c"};
  EXPECT_THAT(load(file).encode("abc"), ElementsAre(4));
  file["model"]["merges"] = Json::parse(R"([["a", "b"], "ab c"])");
  EXPECT_THAT(load_error(file), HasSubstr("tokenizer.json.model.merges: merge 1 is neither like the first"));
  for (const char* merge : {"\"a b c\"", "\"ab\"", "\"a  b\"", "[\"a\", \"b\", \"c\"]", "[\"a\"]", "[1, 2]", "7"}) {
    file["model"]["merges"] = Json::array({Json::parse(merge)});
    EXPECT_THAT(load_error(file), HasSubstr("tokenizer.json.model.merges: ")) << merge;
  }
}

TEST(TokenizerRobustness, C2MergeOutsideTheVocabulary) {
  Json file = small_file();
  for (const auto& [merge, missing] : {std::pair("a q", "\"q\""), {"q a", "\"q\""}, {"b a", "\"ba\""}}) {
    file["model"]["merges"] = {merge};
    file["model"]["ignore_merges"] = false;
    EXPECT_THAT(load_error(file), HasSubstr(std::string("the vocabulary has no ") + missing));
    file["model"]["ignore_merges"] = true;
    EXPECT_THAT(load(file).encode("ba"), ElementsAre(1, 0));
  }
}

TEST(TokenizerRobustness, C3VocabularyIds) {
  const auto with_id = [](const char* id) {
    Json file = small_file();
    file["model"]["vocab"]["x"] = Json::parse(id);
    return file;
  };
  for (const char* id : {"-1", "2147483648", "18446744073709551615", "1.5", "\"6\"", "null", "[6]", "true"}) {
    EXPECT_THAT(load_error(with_id(id)), HasSubstr("the id of \"x\" must be a whole number below 2^31")) << id;
  }
  EXPECT_THAT(load_error(with_id("0")), HasSubstr("gives id 0 to both \"a\" and \"x\""));
  // Gaps are fine, and cost no memory.
  const Tokenizer gap = load(with_id("2147483647"));
  EXPECT_EQ(gap.vocab_size(), int64_t{1} << 31);
  EXPECT_THAT(gap.encode("x"), ElementsAre(2147483647));
  EXPECT_FALSE(gap.contains(2147483646));
  Json file = small_file();
  file["model"]["vocab"] = Json::object();
  EXPECT_THAT(load_error(file), HasSubstr("the vocabulary is empty"));
  file["model"]["vocab"] = Json::array();
  EXPECT_THAT(load_error(file), HasSubstr("tokenizer.json.model.vocab must be an object, found an array"));
  std::string twice = small_file().dump();
  twice.replace(twice.find("\"b\":1"), 5, "\"a\":1");
  EXPECT_THAT(error_of([&] { load(twice); }), HasSubstr("duplicate key \"a\""));
}

TEST(TokenizerRobustness, C4AddedTokens) {
  const auto with = [](const Json& tokens) {
    Json file = small_file();
    file["added_tokens"] = tokens;
    return file;
  };
  EXPECT_THAT(load_error(with(Json::array({added(1, "<s>")}))),
              AllOf(HasSubstr("\"<s>\" has id 1"), HasSubstr("1 is \"b\"")));
  EXPECT_THAT(load_error(with(Json::array({added(9, "<s>")}))), HasSubstr("the next free id is 7"));
  EXPECT_THAT(load_error(with(Json::array({added(7, "ab")}))), HasSubstr("its id in the vocabulary is 3"));
  EXPECT_THAT(load_error(with(Json::array({added(7, "")}))), HasSubstr("tokenizer.json.added_tokens[0] is empty"));
  EXPECT_THAT(load_error(with(Json::array({added(7, "<s>"), added(8, "<s>")}))), HasSubstr("\"<s>\" is listed twice"));
  EXPECT_THAT(load_error(with(Json::array({added(-1, "<s>")}))), HasSubstr("must be a whole number below 2^31"));
  EXPECT_THAT(load_error(with(Json::array({added(int64_t{1} << 31, "<s>")}))),
              HasSubstr("must be a whole number below 2^31"));
  EXPECT_THAT(load_error(with(Json::object())), HasSubstr("tokenizer.json.added_tokens must be an array"));
  EXPECT_THAT(load_error(with(Json::array({7}))), HasSubstr("added_tokens[0] must be an object, found a number"));
  EXPECT_THAT(load_error(with(Json::array({added(7, "<s>", {{"lstrip", 1}})}))),
              HasSubstr("\"lstrip\" must be true or false"));
  Json vanishing = with(Json::array({added(7, "q", {{"normalized", true}})}));
  vanishing["normalizer"] = Json::parse(R"({"type": "Replace", "pattern": {"String": "q"}, "content": ""})");
  EXPECT_THAT(load_error(vanishing), HasSubstr("\"q\" is normalised to nothing"));
}

TEST(TokenizerRobustness, C4MatchingIsLinear) {
  Json file = small_file();
  const std::string megabyte(1 << 20, 'a');
  file["added_tokens"] = {added(7, megabyte + "b"), added(8, " ", {{"rstrip", true}}), added(9, "aaa")};
  const Tokenizer tokenizer = load(file);
  const std::clock_t begin = std::clock();
  EXPECT_THAT(tokenizer.encode(megabyte + "b"), ElementsAre(7));
  EXPECT_THAT(tokenizer.encode(megabyte), SizeIs(megabyte.size() / 3 + 1));
  EXPECT_THAT(tokenizer.encode(std::string(1 << 20, ' ')), SizeIs(1 << 20));
  EXPECT_LT(cpu_seconds_since(begin), 5.0);
}

TEST(TokenizerRobustness, C5ByteTokens) {
  Json file = small_file();
  file["model"]["byte_fallback"] = true;
  for (const char* token : {"<0x-1>", "<0xZZ>", "<0x+1>", "<0x 1>"}) {
    Json bad = file;
    bad["model"]["vocab"][token] = 7;
    EXPECT_THAT(load_error(bad), HasSubstr("is not <0x00> to <0xFF>")) << token;
  }
  Json part = file;
  for (int byte = 0; byte < 255; ++byte) part["model"]["vocab"][fmt::format("<0x{:02X}>", byte)] = 7 + byte;
  EXPECT_THAT(load_error(part), HasSubstr("255 are there, <0xFF> is not"));
  part["model"]["vocab"]["<0xFF>"] = 262;
  EXPECT_THAT(load(part).encode("aé"), ElementsAre(0, 7 + 0xC3, 7 + 0xA9));
  EXPECT_THAT(load(file).encode("aé"), ElementsAre(0));  // no byte tokens at all: unknown, as without the fallback
}

TEST(TokenizerRobustness, C6UnsupportedComponents) {
  const auto refused = [](const char* field, const char* component, const std::string& words) {
    Json file = small_file();
    file[field] = Json::parse(component);
    const std::string message = load_error(file);
    EXPECT_THAT(message, AllOf(HasSubstr("models/m: tokenizer.json." + std::string(field)), HasSubstr(words)));
    EXPECT_THAT(message, HasSubstr(ids_hint));
  };
  refused("model", R"({"type": "Unigram", "vocab": []})",
          "the type \"Unigram\", which is not supported (supported: BPE)");
  refused("model", R"({"vocab": {}})", "names no type and has no merges");
  refused("normalizer", R"({"type": "Lowercase"})", "supported: NFC, Prepend, Replace, Sequence");
  refused("normalizer", R"({"type": "Sequence", "normalizers": [{"type": "NFKC"}]})",
          "normalizers[0] has the type \"NFKC\"");
  refused("pre_tokenizer", R"({"type": "BertPreTokenizer"})", "the type \"BertPreTokenizer\"");
  refused("pre_tokenizer", R"({"type": "Split", "pattern": {"String": " "}, "behavior": "Odd"})",
          "the behavior \"Odd\"");
  refused("pre_tokenizer", R"({"type": "Punctuation", "behavior": "Odd"})", "the behavior \"Odd\"");
  refused("pre_tokenizer", R"({"type": "Metaspace", "replacement": "_", "prepend_scheme": "odd"})",
          "prepend_scheme \"odd\"");
  refused("pre_tokenizer", R"({"type": "Metaspace", "replacement": "_", "add_prefix_space": false})", "contradicts");
  refused("post_processor", R"({"type": "BertProcessing"})", "the type \"BertProcessing\"");
  refused("decoder", R"({"type": "WordPiece"})", "the type \"WordPiece\"");
  Json file = small_file();
  file["version"] = "2.0";
  EXPECT_THAT(load_error(file), HasSubstr("has the version \"2.0\""));
}

// All types that the Python package knows and that do something else than what is supported, alone and in a sequence.
TEST(TokenizerRobustness, C6EveryOtherTypeIsRefusedByName) {
  const std::tuple<const char*, const char*, std::vector<const char*>> fields[] = {
      {"normalizer",
       "normalizers",
       {"BertNormalizer", "ByteLevel", "Lowercase", "NFD", "NFKC", "NFKD", "Nmt", "Precompiled", "Strip",
        "StripAccents"}},
      {"pre_tokenizer",
       "pretokenizers",
       {"BertPreTokenizer", "CharDelimiterSplit", "FixedLength", "UnicodeScripts", "Whitespace", "WhitespaceSplit"}},
      {"post_processor", "processors", {"BertProcessing", "RobertaProcessing"}},
      {"decoder", "decoders", {"BPEDecoder", "CTC", "WordPiece"}},
      {"model", "", {"Unigram", "WordLevel", "WordPiece"}},
  };
  for (const auto& [field, list, types] : fields) {
    for (const char* type : types) {
      const auto named = HasSubstr(fmt::format("has the type \"{}\", which is not supported (supported: ", type));
      Json file = small_file();
      file[field]["type"] = type;
      EXPECT_THAT(load_error(file), AllOf(named, HasSubstr(ids_hint)));
      if (*list == 0) continue;
      file[field] = {{"type", "Sequence"}, {list, Json::array({{{"type", type}}})}};
      EXPECT_THAT(load_error(file), AllOf(named, HasSubstr(fmt::format("{}.{}[0]", field, list))));
    }
  }
}

TEST(TokenizerRobustness, C6ModelOptions) {
  const auto with = [](const char* option, const Json& value) {
    Json file = small_file();
    file["model"][option] = value;
    return file;
  };
  EXPECT_THAT(load_error(with("continuing_subword_prefix", "##")), HasSubstr("continuing_subword_prefix \"##\""));
  EXPECT_THAT(load_error(with("end_of_word_suffix", "</w>")), HasSubstr("end_of_word_suffix \"</w>\""));
  EXPECT_THAT(load_error(with("dropout", 0.1)), HasSubstr("has a dropout"));
  EXPECT_THAT(load_error(with("unk_token", 3)), HasSubstr("\"unk_token\" must be a string, found a number"));
  EXPECT_THAT(load_error(with("vocab", nullptr)), HasSubstr("tokenizer.json.model has no \"vocab\""));
  for (const auto& [option, value] :
       {std::pair<const char*, Json>("continuing_subword_prefix", ""), {"dropout", 0.0}}) {
    EXPECT_THAT(load(with(option, value)).encode("abc"), ElementsAre(4)) << option;
  }
}

TEST(TokenizerRobustness, C6WrongKinds) {
  EXPECT_THAT(error_of([] { load(std::string("[]")); }), HasSubstr("models/m: tokenizer.json must be an object"));
  EXPECT_THAT(error_of([] { load(std::string("{")); }),
              HasSubstr("models/m: tokenizer.json is not valid JSON at byte"));
  EXPECT_THAT(error_of([] { load(std::string("{}")); }), HasSubstr("tokenizer.json has no \"model\""));
  for (const char* field : {"normalizer", "pre_tokenizer", "post_processor", "decoder"}) {
    for (const char* component : {"[]", "{}", "{\"type\": 3}", "\"NFC\"", "{\"type\": \"Sequence\"}"}) {
      Json file = small_file();
      file[field] = Json::parse(component);
      EXPECT_THAT(load_error(file), HasSubstr(field)) << component;
    }
  }
  EXPECT_THAT(error_of([] { Tokenizer::from_files({}, "models/m"); }), HasSubstr("there is no tokenizer"));
}

Json with_pattern(const std::string& pattern) {
  Json file = small_file();
  file["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}};
  return file;
}

TEST(TokenizerRobustness, C7NestedQuantifiersEndInAnError) {
  const Tokenizer tokenizer = load(with_pattern("(?:a+)+b"));
  const std::clock_t begin = std::clock();
  EXPECT_THAT(error_of([&] { tokenizer.encode(std::string(10'000'000, 'a')); }),
              AllOf(HasSubstr("\"(?:a+)+b\" takes too long on this text"), HasSubstr("--ids")));
  EXPECT_LT(cpu_seconds_since(begin), 60.0);
}

TEST(TokenizerRobustness, C7QuadraticPatternsEndInAnError) {
  // Each match alone is quick; half a million of them are not.
  const Tokenizer tokenizer = load(with_pattern("a(?=.*b)|a"));
  EXPECT_THAT(error_of([&] { tokenizer.encode(std::string(500'000, 'a')); }), HasSubstr("takes too long"));
}

TEST(TokenizerRobustness, C7PlainPatternsTakeTenMegabytes) {
  const Tokenizer tokenizer = load(byte_level_file());
  EXPECT_THAT(tokenizer.encode(std::string(10'000'000, 'a')), SizeIs(10'000'000));
  for (const char c : {' ', '1', '!', '\n'})
    EXPECT_THAT(tokenizer.encode(std::string(1'000'000, c)), SizeIs(1'000'000)) << c;
  EXPECT_THAT(error_of([&] { tokenizer.encode(std::string(100'000'000, 'a')); }), HasSubstr("more than 64 MiB"));
}

TEST(TokenizerRobustness, C7PatternsThatAreWrong) {
  for (const char* pattern : {"(", "a)", "*a", "[z-a]", "\\p{Nonsense}", "(?<=a+)b", "a{3,2}"}) {
    EXPECT_THAT(load_error(with_pattern(pattern)), HasSubstr("tokenizer.json.pre_tokenizer: the regular expression"))
        << pattern;
  }
  EXPECT_THAT(load_error(with_pattern(std::string(70'000, 'a'))), HasSubstr("at most 65536 are supported"));
}

TEST(TokenizerRobustness, C7TextsThatGrowEndInAnError) {
  Json file = small_file();
  const Json doubled = Json::parse(R"({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"})");
  file["normalizer"] = {{"type", "Sequence"}, {"normalizers", Json(40, doubled)}};
  const Tokenizer tokenizer = load(file);
  EXPECT_THAT(error_of([&] { tokenizer.encode("a"); }), HasSubstr("makes more than 64 MiB of this text"));
}

TEST(TokenizerRobustness, C8TemplateIds) {
  const auto with = [](const Json& ids) {
    Json file = small_file();
    file["post_processor"] = Json::parse(R"({"type": "TemplateProcessing", "pair": [], "special_tokens": {},
      "single": [{"SpecialToken": {"id": "B", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]})");
    if (!ids.is_null()) file["post_processor"]["special_tokens"]["B"] = {{"id", "B"}, {"ids", ids}};
    return file;
  };
  EXPECT_THAT(load_error(with({7})), HasSubstr("the template adds id 7, which is no token"));
  EXPECT_THAT(load_error(with({-1})), HasSubstr("must hold whole numbers below 2^31"));
  EXPECT_THAT(load_error(with({uint64_t{1} << 31})), HasSubstr("must hold whole numbers below 2^31"));
  EXPECT_THAT(load_error(with(nullptr)), HasSubstr("does not list \"B\""));
  EXPECT_THAT(load(with({6, 5})).encode("a"), ElementsAre(6, 5, 0));
  Json pair = with({6});
  pair["post_processor"]["single"][1]["Sequence"]["id"] = "B";
  EXPECT_THAT(load_error(pair), HasSubstr("uses the text \"B\""));
  Json two = with({6});
  two["post_processor"] = {{"type", "Sequence"}, {"processors", {two["post_processor"], two["post_processor"]}}};
  EXPECT_THAT(load_error(two), HasSubstr("is a second template"));
}

TEST(TokenizerRobustness, C10TextThatIsNotUtf8) {
  const Tokenizer tokenizer = load(byte_level_file());
  for (const char* bad : {"ab\xC3\x28", "ab\xFF", "ab\xC0\xAF", "ab\xED\xA0\x80", "ab\xF4\x90\x80\x80", "ab\xE2\x82"}) {
    EXPECT_THAT(error_of([&] { tokenizer.encode(bad); }), HasSubstr("the text is not UTF-8: byte 0x")) << bad;
    EXPECT_THAT(error_of([&] { tokenizer.encode(bad); }), HasSubstr("at position 2")) << bad;
  }
}

TEST(TokenizerRobustness, C11OddTexts) {
  Json file = byte_level_file();
  file["normalizer"] = {{"type", "NFC"}};
  const Tokenizer tokenizer = load(file);
  EXPECT_THAT(tokenizer.encode(std::string("a\0b", 3)), ElementsAre('a', 0, 'b'));
  std::string marks = "e";
  // Two classes in turn, so that a naive reordering of marks would take quadratic time.
  for (int i = 0; i < 200'000; ++i) marks += i % 2 ? "\u0323" : "\u0308";
  for (const std::string& text :
       {std::string("שלום עולם"), std::string("👩‍👩‍👧"), std::string("\u202eabc")}) {
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
  }
  const std::clock_t begin = std::clock();
  EXPECT_THAT(tokenizer.encode(marks), SizeIs(400'001));  // e and the dot below become one character of three bytes
  EXPECT_LT(cpu_seconds_since(begin), 5.0);
}

TEST(TokenizerRobustness, C14SpecialTokensInThePrompt) {
  Json file = byte_level_file();
  file["added_tokens"] = {added(256, "<s>")};
  const Tokenizer tokenizer = load(file);
  EXPECT_THAT(tokenizer.encode("a<s>b<s"), ElementsAre('a', 256, 'b', '<', 's'));
  EXPECT_THAT(tokenizer.pieces(tokenizer.encode("a<s>")), ElementsAre("a", "<s>"));
}

}  // namespace
}  // namespace headscope
