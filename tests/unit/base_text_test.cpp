#include <clocale>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/crc32.h"
#include "core/base/error.h"
#include "core/base/text.h"

namespace headscope {
namespace {

TEST(Text, counts_have_thousands_separators) {
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(1280), "1,280");
  EXPECT_EQ(format_count(124439808), "124,439,808");
  EXPECT_EQ(format_count(UINT64_MAX), "18,446,744,073,709,551,615");
}

TEST(Text, decimal_bytes_count_in_thousands) {
  EXPECT_EQ(format_decimal_bytes(9999), "9,999 B");
  EXPECT_EQ(format_decimal_bytes(10'000), "10.0 kB");
  EXPECT_EQ(format_decimal_bytes(uint64_t{9} << 29), "4.83 GB");
  EXPECT_EQ(format_decimal_bytes(399'769'600'000), "400 GB");
  EXPECT_EQ(format_decimal_bytes(999'400'000), "999 MB");
  EXPECT_EQ(format_decimal_bytes(999'600'000), "1.00 GB");
  EXPECT_EQ(format_decimal_bytes(7'027'200'000), "7.03 GB");
}

TEST(Text, sizes_are_bytes_in_units_of_both_kinds) {
  EXPECT_EQ(parse_bytes("2GiB", "--size"), int64_t{2} << 30);
  for (const char* text : {"1.5kB", "1.5KB"}) EXPECT_EQ(parse_bytes(text, "--size"), 1500) << text;
  EXPECT_EQ(parse_bytes("500MB", "--size"), 500'000'000);
  EXPECT_EQ(parse_bytes("0", "--size"), 0);
  EXPECT_EQ(parse_bytes("0KiB", "--size"), 0);
  for (const char* wrong : {"", "1", "12 MB", "-1MB", "MB", "1mb", "1MBs", "nan", "infGB", "1e300TB"}) {
    EXPECT_THROW(parse_bytes(wrong, "--size"), UsageError) << wrong;
  }
}

TEST(Text, bytes_are_exact_when_few_and_have_three_digits_when_many) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1280), "1,280 B");
  EXPECT_EQ(format_bytes(10 * 1024 - 1), "10,239 B");
  EXPECT_EQ(format_bytes(10 * 1024), "10.0 KiB");
  EXPECT_EQ(format_bytes(75 * 1024), "75.0 KiB");
  EXPECT_EQ(format_bytes(1000 * 1024), "1,000 KiB");
  EXPECT_EQ(format_bytes(1024 * 1024), "1.00 MiB");
  EXPECT_EQ(format_bytes(uint64_t{9} << 29), "4.50 GiB");
  EXPECT_EQ(format_bytes(UINT64_MAX), "16.0 EiB");
}

TEST(Text, bytes_never_round_into_a_fourth_digit) {
  EXPECT_EQ(format_bytes(1024 * 1024 - 1), "1.00 MiB");
  EXPECT_EQ(format_bytes(1024 * 1024 - 1024), "1,023 KiB");
  EXPECT_EQ(format_bytes(1023 * 1024 + 511), "1,023 KiB");
  EXPECT_EQ(format_bytes(102348), "99.9 KiB");
  EXPECT_EQ(format_bytes(102399), "100 KiB");
  EXPECT_EQ(format_bytes(10480000), "9.99 MiB");
  EXPECT_EQ(format_bytes(10485759), "10.0 MiB");
}

TEST(Text, utf8_accepts_every_scalar_value_and_nothing_else) {
  for (char32_t code = 0; code <= 0x110000; ++code) {
    std::string text;  // encoded without regard to whether it may be
    if (code < 0x80) {
      text = {static_cast<char>(code)};
    } else if (code < 0x800) {
      text = {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 63))};
    } else if (code < 0x10000) {
      text = {static_cast<char>(0xE0 | code >> 12), static_cast<char>(0x80 | (code >> 6 & 63)),
              static_cast<char>(0x80 | (code & 63))};
    } else {
      text = {static_cast<char>(0xF0 | code >> 18), static_cast<char>(0x80 | (code >> 12 & 63)),
              static_cast<char>(0x80 | (code >> 6 & 63)), static_cast<char>(0x80 | (code & 63))};
    }
    const bool allowed = (code < 0xD800 || code > 0xDFFF) && code <= 0x10FFFF;
    size_t position = 0;
    ASSERT_EQ(decode_utf8(text, position), allowed ? code : invalid_code_point) << static_cast<uint32_t>(code);
    ASSERT_EQ(position, allowed ? text.size() : 1u);
  }
}

TEST(Text, utf8_finds_the_first_bad_byte) {
  EXPECT_EQ(valid_utf8_prefix("plain, \xC3\xA9 and \xF0\x9F\x98\x80"), 18u);
  EXPECT_EQ(valid_utf8_prefix("ab\xFF"), 2u);
  EXPECT_EQ(valid_utf8_prefix("ab\xC3"), 2u) << "cut";
  EXPECT_EQ(valid_utf8_prefix("ab\xC3("), 2u) << "no continuation";
  EXPECT_EQ(valid_utf8_prefix("\xC0\xAF"), 0u) << "overlong";
  EXPECT_EQ(valid_utf8_prefix("\xE0\x80\xAF"), 0u) << "overlong";
  EXPECT_EQ(valid_utf8_prefix("\xF0\x80\x80\xAF"), 0u) << "overlong";
  EXPECT_EQ(valid_utf8_prefix("x\x80"), 1u) << "stray continuation";
}

TEST(Quoted, A17_B21_untrusted_text_is_harmless) {
  EXPECT_EQ(quoted("h.0.attn"), "\"h.0.attn\"");
  EXPECT_EQ(quoted("%s%n a##b"), "\"%s%n a##b\"");
  EXPECT_EQ(quoted("a\"b\\c"), R"("a\"b\\c")");
  EXPECT_EQ(quoted("a\nb\tc\x1b[31m\x7f"), R"("a\nb\tc\x1b[31m\x7f")");
  EXPECT_EQ(quoted("\xFF\xC3(é"), R"("\xff\xc3(é")");
  EXPECT_EQ(quoted("a\xE2\x80\xAE"
                   "b"),
            R"("a\u{202e}b")")
      << "right-to-left override";
  EXPECT_EQ(quoted("\xC2\x85"), R"("\u{0085}")");
  EXPECT_EQ(quoted(std::string("a\0b", 3)), R"("a\x00b")");
  std::string named = "not std::quoted";
  EXPECT_EQ(quoted(named), "\"not std::quoted\"");
}

TEST(Quoted, A17_a_megabyte_is_shortened_in_the_middle_without_splitting_characters) {
  const std::string text = "begin" + std::string(1 << 20, 'x') + "end";
  const std::string shown = quoted(text);
  EXPECT_LE(shown.size(), 100u);
  EXPECT_TRUE(shown.starts_with("\"begin") && shown.ends_with("end\"")) << shown;
  for (size_t limit = 3; limit < 20; ++limit) {
    std::string smileys;
    for (int i = 0; i < 50; ++i) smileys += "\xF0\x9F\x98\x80";
    const std::string cut = quoted(smileys, limit);
    EXPECT_EQ(cut.find("\\x"), cut.npos) << cut;
    EXPECT_EQ(valid_utf8_prefix(cut), cut.size());
  }
}

TEST(Listed, says_how_many_more) {
  EXPECT_EQ(listed(std::vector<int>{}), "");
  EXPECT_EQ(listed(std::vector{1, 2, 3}), "1, 2, 3");
  EXPECT_EQ(listed(std::vector{1, 2, 3, 4, 5}, 2), "1, 2 and 3 more");
}

TEST(Crc32, equals_the_published_check_value_and_does_not_depend_on_the_pieces) {
  const std::string text = "123456789";
  const auto bytes = std::as_bytes(std::span(text));
  EXPECT_EQ(crc32(bytes), 0xCBF43926u);
  EXPECT_EQ(crc32({}), 0u);
  std::string longer;
  for (int i = 0; i < 1000; ++i) longer += static_cast<char>(i * 31 + i / 7);
  const auto all = std::as_bytes(std::span(longer));
  uint32_t bitwise = 0xFFFFFFFF;
  for (const std::byte byte : all) {
    bitwise ^= static_cast<uint32_t>(byte);
    for (int bit = 0; bit < 8; ++bit) bitwise = bitwise & 1 ? bitwise >> 1 ^ 0xEDB88320u : bitwise >> 1;
  }
  for (size_t cut = 0; cut < 40; ++cut) {
    EXPECT_EQ(crc32(all.subspan(cut), crc32(all.first(cut))), ~bitwise) << cut;
  }
}

}  // namespace
}  // namespace headscope
