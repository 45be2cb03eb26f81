// What the tokenizer makes of texts: small files made by hand, and stories260K's and GPT-NeoX's own.
#include <ctime>

#include "tests/unit/tokenizer_support.h"

namespace headscope {
namespace {

using namespace tokenizer_test;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

Tokenizer load_real(const std::string& name) { return load(read_small_file(real_data(name), 64u << 20)); }

/// The words a pre-tokenizer makes of a text, seen through a tokenizer whose words never merge across.
Texts words_of(const Json& pre_tokenizer, const std::string& text) {
  Json file = small_file();
  file["pre_tokenizer"] = pre_tokenizer;
  file["model"]["ignore_merges"] = true;
  // Every word the cases below can make is a token, so that each word is one id.
  Json vocab = Json::object();
  int id = 0;
  for (size_t begin = 0; begin < text.size(); ++begin) {
    for (size_t length = 1; begin + length <= text.size(); ++length) {
      const std::string word = text.substr(begin, length);
      if (!vocab.contains(word)) vocab[word] = id++;
    }
  }
  file["model"]["vocab"] = vocab;
  file["model"]["merges"] = Json::array();
  const Tokenizer tokenizer = load(file);
  return tokenizer.pieces(tokenizer.encode(text));
}

Json split(const std::string& kind, const std::string& pattern, const std::string& behavior, bool invert = false) {
  return {{"type", "Split"}, {"pattern", {{kind, pattern}}}, {"behavior", behavior}, {"invert", invert}};
}

TEST(Tokenizer, MergesByRankThenFromTheLeft) {
  const Tokenizer tokenizer = load(small_file());
  EXPECT_THAT(tokenizer.encode("abcab"), ElementsAre(4, 3));
  EXPECT_THAT(tokenizer.encode("cba"), ElementsAre(2, 1, 0));
  EXPECT_THAT(tokenizer.encode(""), IsEmpty());
  EXPECT_EQ(tokenizer.vocab_size(), 7);
  EXPECT_TRUE(tokenizer.contains(6));
  EXPECT_FALSE(tokenizer.contains(7));
  EXPECT_FALSE(tokenizer.contains(-1));
}

TEST(Tokenizer, LowerRankWinsOverPosition) {
  Json file = small_file();
  file["model"]["vocab"] = {{"a", 0}, {"b", 1}, {"c", 2}, {"ab", 3}, {"bc", 4}, {"aa", 5}};
  file["model"]["merges"] = {"b c", "a b", "a a"};
  const Tokenizer tokenizer = load(file);
  EXPECT_THAT(tokenizer.encode("abc"), ElementsAre(0, 4));
  EXPECT_THAT(tokenizer.encode("abab"), ElementsAre(3, 3));
  EXPECT_THAT(tokenizer.encode("aaa"), ElementsAre(5, 0));
}

TEST(Tokenizer, UnknownCharacters) {
  Json file = small_file();
  EXPECT_THAT(load(file).encode("aqqb"), ElementsAre(3));
  file["model"]["unk_token"] = "x";
  EXPECT_THAT(load(file).encode("aqqb"), ElementsAre(0, 6, 6, 1));
  file["model"]["fuse_unk"] = true;
  EXPECT_THAT(load(file).encode("aqqbq"), ElementsAre(0, 6, 1, 6));
  file["model"]["unk_token"] = "nowhere";
  const Tokenizer tokenizer = load(file);
  EXPECT_THAT(tokenizer.encode("ab"), ElementsAre(3));
  EXPECT_THAT(error_of([&] { tokenizer.encode("aq"); }), HasSubstr("so is the unk_token \"nowhere\""));
}

TEST(Tokenizer, SplitBehaviors) {
  EXPECT_THAT(words_of(split("String", " ", "Isolated"), "a  b "), ElementsAre("a", " ", " ", "b", " "));
  EXPECT_THAT(words_of(split("String", " ", "Removed"), "a  b "), ElementsAre("a", "b"));
  EXPECT_THAT(words_of(split("String", " ", "Removed", true), "a  b "), ElementsAre(" ", " ", " "));
  EXPECT_THAT(words_of(split("String", " ", "MergedWithPrevious"), "a  b "), ElementsAre("a ", " ", "b "));
  EXPECT_THAT(words_of(split("String", " ", "MergedWithNext"), "a  b "), ElementsAre("a", " ", " b", " "));
  EXPECT_THAT(words_of(split("String", " ", "Contiguous"), "a  b "), ElementsAre("a", "  ", "b", " "));
  EXPECT_THAT(words_of(split("Regex", "[ab]+", "Isolated"), "ab cab"), ElementsAre("ab", " c", "ab"));
  EXPECT_THAT(words_of(split("Regex", "x*", "Isolated"), "abxxc"), ElementsAre("a", "b", "xx", "c"));
  EXPECT_THAT(words_of(split("String", "", "Isolated"), "abc"), ElementsAre("a", "b", "c"));
  const Json nested{{"type", "Sequence"},
                    {"pretokenizers", {split("String", " ", "Removed"), split("Regex", "(?<=a)b", "Isolated")}}};
  EXPECT_THAT(words_of(nested, "ab bb"), ElementsAre("a", "b", "bb"));
}

TEST(Tokenizer, Digits) {
  EXPECT_THAT(words_of({{"type", "Digits"}, {"individual_digits", true}}, "a12b3"),
              ElementsAre("a", "1", "2", "b", "3"));
  EXPECT_THAT(words_of({{"type", "Digits"}, {"individual_digits", false}}, "a12b3"), ElementsAre("a", "12", "b", "3"));
}

TEST(Tokenizer, Punctuation) {
  const auto words = [](const Json& more, const std::string& text) {
    Json step = {{"type", "Punctuation"}};
    step.update(more);
    return words_of(step, text);
  };
  EXPECT_THAT(words(Json::object(), "a,,b$c_d"), ElementsAre("a", ",", ",", "b", "$", "c", "_", "d"));
  EXPECT_THAT(words({{"behavior", "Contiguous"}}, "a,,b+="), ElementsAre("a", ",,", "b", "+="));
  EXPECT_THAT(words({{"behavior", "Removed"}}, "a,,b."), ElementsAre("a", "b"));
  EXPECT_THAT(words({{"behavior", "MergedWithNext"}}, "a, b"), ElementsAre("a", ", b"));
  EXPECT_THAT(words({{"behavior", "MergedWithPrevious"}}, "a, b"), ElementsAre("a,", " b"));
}

TEST(Tokenizer, Metaspace) {
  const auto encoded = [](const std::string& scheme, bool cut, const std::string& text) {
    Json file = small_file();
    file["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", scheme}, {"split", cut}};
    file["decoder"] = file["pre_tokenizer"];
    file["added_tokens"] = {added(7, "<s>")};
    file["model"]["vocab"]["▁a"] = 8;
    file["model"]["vocab"]["b▁"] = 9;
    file["model"]["vocab"]["q"] = 7;  // the added token's id must be free: <s> comes behind the vocabulary
    file["added_tokens"][0]["id"] = 10;
    file["model"]["merges"] = {"▁ a", "b ▁"};
    return load(file).encode(text);
  };
  EXPECT_THAT(encoded("always", true, "a b a"), ElementsAre(8, 5, 1, 8));
  EXPECT_THAT(encoded("always", false, "a b a"), ElementsAre(8, 5, 1, 8));
  EXPECT_THAT(encoded("never", true, "b b"), ElementsAre(1, 5, 1));
  EXPECT_THAT(encoded("never", false, "b b"), ElementsAre(9, 1));
  EXPECT_THAT(encoded("first", true, "a<s>a"), ElementsAre(8, 10, 0));
  EXPECT_THAT(encoded("first", true, "<s>a"), ElementsAre(10, 0));
  EXPECT_THAT(encoded("always", true, "<s>a"), ElementsAre(10, 8));
}

TEST(Tokenizer, ByteLevelPrefixSpaceAndRegex) {
  Json file = byte_level_file();
  file["pre_tokenizer"]["add_prefix_space"] = true;
  EXPECT_THAT(load(file).encode("a"), ElementsAre(' ', 'a'));
  EXPECT_THAT(load(file).encode(" a"), ElementsAre(' ', 'a'));
  // A merge over the space between two words happens only without the pattern.
  file["pre_tokenizer"]["add_prefix_space"] = false;
  file["model"]["vocab"]["aĠ"] = 256;
  file["model"]["merges"] = {"a Ġ"};
  EXPECT_THAT(load(file).encode("a b"), ElementsAre('a', ' ', 'b'));
  file["pre_tokenizer"]["use_regex"] = false;
  EXPECT_THAT(load(file).encode("a b"), ElementsAre(256, 'b'));
}

TEST(Tokenizer, NormalizersInSequence) {
  Json file = byte_level_file();
  file["normalizer"] = Json::parse(R"({"type": "Sequence", "normalizers": [{"type": "NFC"},
    {"type": "Replace", "pattern": {"String": "a"}, "content": "bb"},
    {"type": "Replace", "pattern": {"Regex": "b{3,}"}, "content": "$1"}, {"type": "Prepend", "prepend": ">"}]})");
  const Tokenizer tokenizer = load(file);
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("e\u0301 a ba")), ">é bb $1");
  EXPECT_THAT(tokenizer.encode(""), IsEmpty());
}

TEST(Tokenizer, TemplateIsAppliedOnRequest) {
  Json file = small_file();
  file["added_tokens"] = {added(7, "<s>"), added(8, "</s>")};
  file["post_processor"] = Json::parse(R"({"type": "Sequence", "processors": [{"type": "ByteLevel"},
    {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "B", "type_id": 0}},
      {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "E", "type_id": 0}}], "pair": [],
      "special_tokens": {"B": {"id": "B", "ids": [7, 7], "tokens": ["<s>", "<s>"]},
                         "E": {"id": "E", "ids": [8], "tokens": ["</s>"]}}}]})");
  const Tokenizer tokenizer = load(file);
  EXPECT_THAT(tokenizer.encode("ab"), ElementsAre(7, 7, 3, 8));
  EXPECT_THAT(tokenizer.encode(""), ElementsAre(7, 7, 8));
  EXPECT_THAT(tokenizer.encode("ab", false), ElementsAre(3));
  EXPECT_TRUE(tokenizer.is_special(7));
  EXPECT_FALSE(tokenizer.is_special(3));
  EXPECT_FALSE(tokenizer.is_special(99));
  EXPECT_EQ(tokenizer.vocab_size(), 9);
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("ab")), "ab");
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("ab"), false), "<s><s>ab</s>");
}

TEST(Tokenizer, AddedTokenFlags) {
  Json file = small_file();
  file["model"]["vocab"][" "] = 7;
  file["added_tokens"] = {added(8, "<l>", {{"lstrip", true}}), added(9, "<r>", {{"rstrip", true}}),
                          added(10, "xx", {{"single_word", true}}), added(11, "<l", {{"special", false}})};
  const Tokenizer tokenizer = load(file);
  EXPECT_THAT(tokenizer.encode("a  <l>  b"), ElementsAre(0, 8, 7, 7, 1));
  EXPECT_THAT(tokenizer.encode("a  <r>  b"), ElementsAre(0, 7, 7, 9, 1));
  EXPECT_THAT(tokenizer.encode("<r> \n <l>"), ElementsAre(9, 8));
  EXPECT_THAT(tokenizer.encode("xx axx xxb xx.xx"), ElementsAre(10, 7, 0, 6, 6, 7, 6, 6, 1, 7, 10, 10));
  EXPECT_THAT(tokenizer.encode("<la<l>"), ElementsAre(11, 0, 8));
  EXPECT_EQ(tokenizer.decode(Ids{8, 11, 0}), "<la");
  EXPECT_THAT(tokenizer.pieces(Ids{8, 11, 0}), ElementsAre("<l>", "<l", "a"));
}

TEST(Tokenizer, NormalizedAddedTokens) {
  Json file = byte_level_file();
  file["normalizer"] = {{"type", "NFC"}};
  file["added_tokens"] = {added(256, "e\u0301!", {{"normalized", true}, {"special", false}}), added(257, "o\u0301!")};
  const Tokenizer tokenizer = load(file);
  EXPECT_THAT(tokenizer.encode("é!"), ElementsAre(256));
  EXPECT_THAT(tokenizer.encode("e\u0301!"), ElementsAre(256));
  EXPECT_THAT(tokenizer.encode("o\u0301!"), ElementsAre(257));
  EXPECT_THAT(tokenizer.encode("ó!"), ElementsAre(0xC3, 0xB3, '!'));
}

TEST(Tokenizer, IgnoreMergesTakesWholeWords) {
  Json file = small_file();
  file["pre_tokenizer"] = split("String", " ", "Removed");
  file["model"]["vocab"]["ba"] = 7;
  EXPECT_THAT(load(file).encode("ba abc"), ElementsAre(1, 0, 4));
  file["model"]["ignore_merges"] = true;
  EXPECT_THAT(load(file).encode("ba abc bab"), ElementsAre(7, 4, 1, 3));
}

TEST(Tokenizer, Decoders) {
  const auto decoded = [](const std::string& decoder, const Ids& ids) {
    Json file = small_file();
    file["model"]["vocab"] = Json::parse(R"({"a": 0, "<0xE2>": 1, "<0x82>": 2, "<0xAC>": 3, "▁a▁": 4, "  ": 5})");
    file["model"]["merges"] = Json::array();
    file["decoder"] = Json::parse(decoder);
    return load(file).decode(ids);
  };
  EXPECT_EQ(decoded("null", {0, 4, 99, 0}), "a ▁a▁ a");
  EXPECT_EQ(decoded(R"({"type": "ByteFallback"})", {1, 2, 3, 0, 1, 2, 0}), "€a\uFFFD\uFFFDa");
  EXPECT_EQ(decoded(R"({"type": "ByteLevel"})", {0, 4, 5}), "a▁a▁  ");
  EXPECT_EQ(decoded(R"({"type": "Metaspace", "replacement": "▁"})", {4, 4}), "a a ");
  EXPECT_EQ(decoded(R"({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never"})", {4, 4}), " a  a ");
  EXPECT_EQ(decoded(R"({"type": "Replace", "pattern": {"Regex": "[a▁]+"}, "content": "$0"})", {4, 0}), "$0$0");
  EXPECT_EQ(decoded(R"({"type": "Strip", "content": "▁", "start": 1, "stop": 1})", {4, 4}), "aa");
  EXPECT_EQ(decoded(R"({"type": "Strip", "content": " ", "start": 1, "stop": 1})", {5, 0}), "a");
  EXPECT_EQ(decoded(R"({"type": "Sequence", "decoders": [{"type": "Fuse"},
                       {"type": "Strip", "content": "▁", "start": 9, "stop": 0}]})",
                    {4, 4}),
            "a▁▁a▁");
}

TEST(Tokenizer, PiecesOfDividedCharacters) {
  Json file = byte_level_file();
  file["model"]["vocab"]["Ġâ"] = 256;  // a space and the first byte of "€"
  file["model"]["merges"] = {"Ġ â"};
  const Tokenizer tokenizer = load(file);
  const Ids ids = tokenizer.encode("a €b");
  EXPECT_THAT(ids, ElementsAre('a', 256, 0x82, 0xAC, 'b'));
  EXPECT_THAT(tokenizer.pieces(ids), ElementsAre("a", " <0xE2>", "<0x82>", "<0xAC>", "b"));
  EXPECT_EQ(tokenizer.decode(ids), "a €b");
  EXPECT_THAT(tokenizer.pieces(Ids{999, -1}), ElementsAre("<id 999>", "<id -1>"));
}

TEST(Tokenizer, C16HalfACharacterIsVisible) {
  const Tokenizer tokenizer = load(byte_level_file());
  EXPECT_EQ(tokenizer.decode(Ids{'a', 0xE2, 0x82}), "a\uFFFD");
  EXPECT_THAT(tokenizer.pieces(Ids{'a', 0xE2, 0x82}), ElementsAre("a", "<0xE2>", "<0x82>"));
}

TEST(Tokenizer, VocabAndMergesFiles) {
  Json vocab = byte_level_file()["model"]["vocab"];
  vocab["Ġa"] = 256;
  vocab["<|endoftext|>"] = 257;
  TokenizerFiles files;
  files.vocab_json = vocab.dump();
  files.merges_txt = "#version: 0.2\r\nĠ a\r\n\r\n";
  const Tokenizer tokenizer = Tokenizer::from_files(files, "models/m");
  EXPECT_THAT(tokenizer.encode("a a<|endoftext|>"), ElementsAre('a', 256, 257));
  EXPECT_TRUE(tokenizer.is_special(257));
  EXPECT_EQ(tokenizer.decode(Ids{256, 257}), " a");
  vocab.erase("<|endoftext|>");
  files.vocab_json = vocab.dump();
  EXPECT_EQ(Tokenizer::from_files(files, "models/m").vocab_size(), 257);
  files.merges_txt = "Ġ a b\n";
  EXPECT_THAT(error_of([&] { Tokenizer::from_files(files, "models/m"); }),
              HasSubstr("models/m: merges.txt: a merge must be two tokens with a space between them"));
}

TEST(Tokenizer, VocabAndMergesWithTheirConfig) {
  Json vocab = byte_level_file()["model"]["vocab"];
  vocab["Ġa"] = 256;
  vocab["</s>"] = 257;
  vocab["<pad>"] = 258;
  TokenizerFiles files;
  files.vocab_json = vocab.dump();
  files.merges_txt = "Ġ a\n";
  const auto with_config = [&](const std::string& config) {
    files.config_json = config;
    return Tokenizer::from_files(files, "models/opt");
  };
  const std::string end = R"({"content": "</s>", "lstrip": false, "normalized": true, "__type": "AddedToken"})";
  const std::string names =
      R"("bos_token": )" + end + R"(, "eos_token": "</s>", "unk_token": null, "pad_token": "<pad>")";
  const Tokenizer opt = with_config("{" + names + R"(, "add_bos_token": true})");
  EXPECT_THAT(opt.encode("a a</s><pad>"), ElementsAre(257, 'a', 256, 257, 258));
  EXPECT_THAT(opt.encode("a", false), ElementsAre('a'));
  EXPECT_EQ(opt.decode(Ids{257, 'a', 258}), "a");
  EXPECT_THAT(with_config("{" + names + "}").encode("a</s>"), ElementsAre('a', 257));
  EXPECT_THAT(with_config("{" + names + R"(, "add_eos_token": true})").encode("a"), ElementsAre('a', 257));
  EXPECT_THAT(with_config(R"({"add_prefix_space": true})").encode("a"), ElementsAre(256));
  const Tokenizer more = with_config(
      R"({"added_tokens_decoder": {"259": {"content": "<m>", "special": true}}, "bos_token": "<m>", "add_bos_token": true})");
  EXPECT_THAT(more.encode("<m>a"), ElementsAre(259, 259, 'a'));
  EXPECT_EQ(more.vocab_size(), 260);

  for (const auto& [config, message] :
       {std::pair(R"([])", "must be an object"),
        {R"({"add_bos_token": true})", "the vocabulary has no \"<|endoftext|>\""},
        {R"({"add_bos_token": true, "bos_token": null})", "add_bos_token is true, but bos_token is null"},
        {R"({"add_bos_token": 1})", "\"add_bos_token\" must be true or false"},
        {R"({"bos_token": 7})", "bos_token must be a string or an object"},
        {R"({"bos_token": {"content": 7}})", "\"content\" must be a string"},
        {R"({"added_tokens_decoder": {"x": {"content": "<m>"}}})", "\"x\" is no token id"},
        {R"({"added_tokens_decoder": {"3": {"content": "<m>"}, "03": {"content": "<n>"}}})", "\"03\" is no token id"},
        {R"({"added_tokens_decoder": {"+3": {"content": "<m>"}}})", "\"+3\" is no token id"},
        {R"({"added_tokens_decoder": {"2147483648": {"content": "<m>"}}})", "\"2147483648\" is no token id"},
        {R"({"added_tokens_decoder": {"9": {"content": "<m>"}}})",
         "tokenizer_config.json.added_tokens_decoder.9: the added token \"<m>\" has id 9"},
        {R"({"added_tokens_decoder": {"259": {"content": "<m>"}, "260": {"content": "<m>"}}})",
         "tokenizer_config.json.added_tokens_decoder.260: the added token \"<m>\""},
        {R"({"added_tokens_decoder": {"259": {"content": "<m>", "lstrip": 1}}})",
         "tokenizer_config.json.added_tokens_decoder.259: \"lstrip\""},
        {R"({"pad_token": {"content": "<pad>", "lstrip": 1}})", "tokenizer_config.json.pad_token: \"lstrip\""},
        {R"({"extra_special_tokens": "<pad>"})", "extra_special_tokens must be an array or an object, found a string"},
        {R"({"extra_special_tokens": ["a", 7]})", "tokenizer_config.json.extra_special_tokens[1] must be a string"},
        {R"({"extra_special_tokens": {"image_token": null}})", "extra_special_tokens.image_token must be a string"},
        {R"({"model_specific_special_tokens": ["<pad>"]})", "model_specific_special_tokens must be an object"},
        {R"({"additional_special_tokens": "<pad>"})", "additional_special_tokens"},
        {"{", "tokenizer_config.json"}}) {
    const std::string error = error_of([&, text = config] { with_config(text); });
    EXPECT_THAT(error, testing::AllOf(HasSubstr("models/opt: tokenizer_config.json"), HasSubstr(message))) << config;
  }
}

TEST(Tokenizer, SpecialTokensOfAPairInAllForms) {
  TokenizerFiles files;
  files.vocab_json = R"({"a": 0, "b": 1, "c": 2, "Ġ": 3, "d": 4, "ab": 5})";
  files.merges_txt = "a b\n";
  const auto ids = [&](const std::string& config, const char* text) {
    files.config_json = config;
    return Tokenizer::from_files(files, "m").encode(text);
  };
  EXPECT_THAT(ids("{}", "cab"), ElementsAre(2, 5));
  for (const char* form :
       {R"("extra_special_tokens": ["b"])", R"("extra_special_tokens": {"image_token": "b"})",
        R"("model_specific_special_tokens": {"image_token": "b"})", R"("additional_special_tokens": ["b"])",
        R"("image_token": "b")", R"("image_token": {"__type": "AddedToken", "content": "b"})",
        R"("extra_special_tokens": [], "additional_special_tokens": ["b"])",
        R"("extra_special_tokens": {"image_token": "d"}, "additional_special_tokens": ["b"])",
        R"("extra_special_tokens": {}, "model_specific_special_tokens": {"image_token": "b"})"}) {
    EXPECT_THAT(ids(std::string("{") + form + "}", "cab"), ElementsAre(2, 0, 1)) << form;
  }
  // What transformers forgets.
  for (const char* form : {R"("extra_special_tokens": ["d"], "additional_special_tokens": ["b"])",
                           R"("extra_special_tokens": {"x": "d"}, "model_specific_special_tokens": {"x": "b"})",
                           R"("x_token": "d", "model_specific_special_tokens": {"y": "b"})",
                           R"("extra_special_tokens": null, "model_specific_special_tokens": null)"}) {
    EXPECT_THAT(ids(std::string("{") + form + "}", "cab"), ElementsAre(2, 5)) << form;
  }
  EXPECT_THAT(ids(R"({"extra_special_tokens": {"bos_token": "b"}, "add_bos_token": true})", "c"), ElementsAre(1, 2));
  // Of a token that is named twice the last form counts, but added_tokens_decoder comes before all.
  const std::string strips = R"({"__type": "AddedToken", "content": "b", "lstrip": true})";
  EXPECT_THAT(ids(R"({"bos_token": )" + strips + "}", "a b"), ElementsAre(0, 1));
  EXPECT_THAT(ids(R"({"eos_token": "b", "bos_token": )" + strips + "}", "a b"), ElementsAre(0, 3, 1));
  EXPECT_THAT(ids(R"({"bos_token": "b", "extra_special_tokens": [)" + strips + "]}", "a b"), ElementsAre(0, 1));
  EXPECT_THAT(ids(R"({"bos_token": "b", "added_tokens_decoder": {"1": )" + strips + "}}", "a b"), ElementsAre(0, 1));
  // Only what has a name, or stands as a text, is special without saying so.
  files.config_json = R"({"extra_special_tokens": [)" + strips + R"(, "c"], "image_token": "d"})";
  const Tokenizer tokenizer = Tokenizer::from_files(files, "m");
  EXPECT_FALSE(tokenizer.is_special(1));
  EXPECT_TRUE(tokenizer.is_special(2) && tokenizer.is_special(4));
}

TEST(Tokenizer, Stories260K) {
  HEADSCOPE_NEED_REAL_DATA("stories260K/tokenizer.json");
  const Tokenizer tokenizer = load_real("stories260K/tokenizer.json");
  EXPECT_EQ(tokenizer.vocab_size(), 512);
  EXPECT_THAT(tokenizer.encode("Zoo"), ElementsAre(1, 410, 469, 347));
  EXPECT_THAT(tokenizer.encode("Zoo", false), ElementsAre(410, 469, 347));
  EXPECT_THAT(tokenizer.encode(""), ElementsAre(1));
  EXPECT_THAT(tokenizer.pieces(tokenizer.encode("Zoo 你")),
              ElementsAre("<s>", " ", "Z", "oo", " ", "<0xE4>", "<0xBD>", "<0xA0>"));
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("Once upon a time, 你好")), "Once upon a time, 你好");
  EXPECT_TRUE(tokenizer.is_special(1));
}

TEST(Tokenizer, GptNeoX) {
  HEADSCOPE_NEED_REAL_DATA("tokenizers/gpt-neox-20b-tokenizer.json");
  const Tokenizer tokenizer = load_real("tokenizers/gpt-neox-20b-tokenizer.json");
  EXPECT_EQ(tokenizer.vocab_size(), 50277);
  EXPECT_THAT(tokenizer.encode("Hello world<|endoftext|>"), ElementsAre(12092, 1533, 0));
  EXPECT_THAT(tokenizer.pieces(tokenizer.encode("    x = 1")), ElementsAre("    ", "x", " =", " 1"));
}

// A megabyte must stay quick, in one word (stories260K has no pre-tokenizer) as in many.
TEST(Tokenizer, AMegabyteTakesSecondsAtMost) {
  HEADSCOPE_NEED_REAL_DATA("corpora/tinyshakespeare.txt");
  const std::string text = read_small_file(real_data("corpora/tinyshakespeare.txt"), 64u << 20);
  for (const char* name : {"stories260K/tokenizer.json", "tokenizers/gpt-neox-20b-tokenizer.json"}) {
    const Tokenizer tokenizer = load_real(name);
    const std::clock_t begin = std::clock();
    const Ids ids = tokenizer.encode(text);
    const double seconds = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
    RecordProperty(name, std::to_string(seconds));
    EXPECT_LT(seconds, 6.0) << name;  // with sanitizers; a tenth of it without
    EXPECT_EQ(tokenizer.decode(ids), text) << name;
  }
}

}  // namespace
}  // namespace headscope
