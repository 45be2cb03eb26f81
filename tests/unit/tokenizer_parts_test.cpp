// The tokenizer's parts against their definitions.
#include <algorithm>
#include <random>

#include "core/tokenizer/byte_level.h"
#include "core/tokenizer/oniguruma.h"
#include "core/tokenizer/pattern.h"
#include "core/tokenizer/string_finder.h"
#include "core/tokenizer/unicode.h"
#include "tests/unit/tokenizer_support.h"

namespace headscope {
namespace {

using namespace tokenizer_test;
using testing::HasSubstr;

/// Leftmost-longest by trying every string at every position.
std::vector<std::array<size_t, 3>> find_slowly(const Texts& strings, const std::string& text) {
  std::vector<std::array<size_t, 3>> found;
  for (size_t i = 0; i < text.size();) {
    size_t best = strings.size();
    for (size_t s = 0; s < strings.size(); ++s) {
      const bool here = !strings[s].empty() && text.compare(i, strings[s].size(), strings[s]) == 0;
      if (here && (best == strings.size() || strings[s].size() > strings[best].size())) best = s;
    }
    if (best == strings.size()) {
      ++i;
    } else {
      found.push_back({i, i + strings[best].size(), best});
      i += strings[best].size();
    }
  }
  return found;
}

TEST(StringFinder, EqualsTheSlowSearch) {
  std::mt19937 random(5);
  const auto word = [&](size_t longest) {
    std::string out;
    for (size_t n = random() % (longest + 1); n > 0; --n) out += static_cast<char>('a' + random() % 3);
    return out;
  };
  size_t total = 0;
  for (int round = 0; round < 3000; ++round) {
    Texts strings(random() % 8);
    for (std::string& string : strings) string = word(6);
    const std::string text = word(40);
    std::vector<std::array<size_t, 3>> found;
    for (const auto& f : StringFinder(strings).find_all(text)) found.push_back({f.begin, f.end, f.which});
    ASSERT_EQ(found, find_slowly(strings, text)) << text << " with " << testing::PrintToString(strings);
    total += found.size();
  }
  EXPECT_GT(total, 3000u);
}

TEST(ByteLevel, AlphabetIsGpt2s) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  std::string text;
  append_byte_level(text, all);
  EXPECT_EQ(byte_level_bytes(text), all);
  std::string some;
  append_byte_level(some, std::string("\0\n !~\x7F\xA0\xA1\xAD\xFF", 10));
  EXPECT_EQ(some, "ĀĊĠ!~ġł¡Ńÿ");
  EXPECT_EQ(byte_level_bytes("a b"), std::nullopt);  // a space is written as another character
  EXPECT_EQ(byte_level_bytes("ń"), std::nullopt);    // the first one behind the alphabet
}

TEST(Unicode, Nfc) {
  EXPECT_EQ(nfc("plain ASCII and é"), "plain ASCII and é");
  EXPECT_EQ(nfc("e\u0301"), "é");
  EXPECT_EQ(nfc("e\u0301\u0323"), "\u1eb9\u0301");
  EXPECT_EQ(nfc("\u1100\u1161\u11a8"), "\uac01");
  EXPECT_EQ(nfc("\u212b\u2126"), "\u00c5\u03a9");
  EXPECT_EQ(nfc("\u0958"), "\u0915\u093c");  // excluded from composition
  EXPECT_EQ(nfc("\ufb01"), "\ufb01");        // only compatible
  EXPECT_EQ(nfc(""), "");
}

TEST(Unicode, ReplacementsAsInRust) {
  EXPECT_EQ(utf8_with_replacements("a\xE2\x82z"), "a\uFFFDz");
  EXPECT_EQ(utf8_with_replacements("\xE2\x82\xE2\x82\xAC"), "\uFFFD€");
  EXPECT_EQ(utf8_with_replacements("\xF0\x9F\x98\xF0\x9F"), "\uFFFD\uFFFD");
  EXPECT_EQ(utf8_with_replacements("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(utf8_with_replacements("\xF4\x90\x80"), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(utf8_with_replacements("\xE0\x80\xC0\x80\xFF"), "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(utf8_with_hex("a\xE2\x82z€\xFF"), "a<0xE2><0x82>z€<0xFF>");
}

TEST(Unicode, PunctuationIsThatOfUnicode8) {
  for (const char32_t code : U"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\u00a1\u2014\u3001\u166d\U000111c9\u2e42") {
    EXPECT_TRUE(code == 0 || is_punctuation(code)) << static_cast<uint32_t>(code);
  }
  for (const char32_t code : U"a0 \n\x7f\u00a2\u00b2\u4e00\u2e43\u2e5d\u061d\U00011663\U0001e95f\U00011b05") {
    EXPECT_FALSE(is_punctuation(code)) << static_cast<uint32_t>(code);
  }
}

TEST(Oniguruma, WhatMeansTheSameIsKept) {
  for (const char* pattern :
       {R"( ?\p{L}+|[^\r\n\p{N}]|(?i:'s)|(?!\d)|a{2,3}?b++)", "(?i)a", R"(\.\[\-\\)", "a{2}b{3,}"}) {
    EXPECT_EQ(pcre2_pattern(pattern, "w"), pattern);
  }
}

TEST(Oniguruma, WhatDiffersIsTranslated) {
  EXPECT_EQ(pcre2_pattern(R"(\s[\S\s])", "w"), R"(\p{White_Space}[\P{White_Space}\p{White_Space}])");
  EXPECT_EQ(pcre2_pattern(R"(\p{Han}\P{^Greek}\p{^Lu})", "w"), R"(\p{sc:Han}\p{sc:Greek}\P{Lu})");
  EXPECT_EQ(pcre2_pattern(R"(\v\u00e9)", "w"), R"(\x0B\x{00e9})");
  EXPECT_EQ(pcre2_pattern("a{x}{", "w"), R"(a\{x}\{)");
}

TEST(Oniguruma, WhatDiffersOtherwiseIsRefused) {
  for (const char* pattern :
       {R"(\w)",  R"(\b)",  R"(\h)", R"(\R)",   R"(\1)",   R"(\k<a>)",         R"(\p{L&})", R"(\pL)", R"([[:alpha:]])",
        "[a[b]]", "[a&&b]", "[]a]",  "[a",      "a{2}+",   "a{1,2}+",          "a{2}?",     "a{,2}",  "(?m:a)",
        "b(?i)a", "(*F)",   "(?#c)", "(?<n>a)", R"(\x80)", R"(\x{110000000})", R"(\u12)",   "\\"}) {
    EXPECT_THAT(error_of([&] { pcre2_pattern(pattern, "where"); }),
                testing::AllOf(HasSubstr("where: the regular expression"), HasSubstr("not supported")))
        << pattern;
  }
}

TEST(Regex, LinesAsInRuby) {
  const auto count = [](const char* regex, std::string_view text) {
    const Pattern pattern{Regex(regex, "w")};
    const Budget budget(text.size());
    const std::vector<Span> parts = Pattern::Cutter(pattern, budget).cut(text);
    return std::count_if(parts.begin(), parts.end(), [](const Span& part) { return part.is_match; });
  };
  EXPECT_EQ(count("^", "a\nb\n"), 2);
  EXPECT_EQ(count("$", "a\nb\n"), 2);
  EXPECT_EQ(count("$", "a\nb"), 2);
  EXPECT_EQ(count(".", "a\nb\r"), 3);
  EXPECT_EQ(count(R"(\s)", "\u180e\u200b\u0085\u2028\u00a0"), 3);
}

}  // namespace
}  // namespace headscope
