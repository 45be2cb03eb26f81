#include "core/io/json.h"

#include <chrono>
#include <string>

#include "core/base/error.h"
#include "tests/unit/io_support.h"

namespace headscope::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string json_error(std::string_view text, const JsonLimits& limits = {}) {
  return error_of([&] { parse_json(text, "\"some.json\"", limits); });
}

TEST(Json, values_types_and_member_order_are_kept) {
  const Json json = parse_json(R"({"z":1,"a":[-2,2.5,true,null,"é😀"],"m":{"k":{}}})", "s");
  EXPECT_EQ(json.dump(), R"({"z":1,"a":[-2,2.5,true,null,"é😀"],"m":{"k":{}}})");
  EXPECT_TRUE(json["z"].is_number_unsigned());
  EXPECT_FALSE(json["a"][0].is_number_unsigned());
  EXPECT_TRUE(parse_json("18446744073709551615", "s").is_number_unsigned());
  EXPECT_TRUE(parse_json("18446744073709551616", "s").is_number_float());
  EXPECT_EQ(parse_json(" 3 ", "s"), 3);
}

TEST(Json, B2_empty_text_is_named) { EXPECT_THAT(json_error(""), AllOf(HasSubstr("some.json"), HasSubstr("empty"))); }

TEST(Json, B2_a_byte_order_mark_is_accepted) {
  EXPECT_EQ(parse_json("\xEF\xBB\xBF{\"a\":1}", "s").dump(), "{\"a\":1}");
}

TEST(Json, B2_utf16_is_recognised) {
  EXPECT_THAT(json_error(std::string_view("\xFF\xFE{\0}\0", 6)), HasSubstr("UTF-16"));
  EXPECT_THAT(json_error(std::string_view("\xFE\xFF\0{\0}", 6)), HasSubstr("UTF-16"));
  EXPECT_THAT(json_error(std::string_view("{\0}\0", 4)), HasSubstr("UTF-16"));
  EXPECT_THAT(json_error(std::string_view("\0{\0}", 4)), HasSubstr("UTF-16"));
}

TEST(Json, B2_comments_and_trailing_commas_are_errors_with_their_place) {
  EXPECT_THAT(json_error("{\"a\":1} // x"), HasSubstr("not valid JSON at byte 9"));
  EXPECT_THAT(json_error("{/*x*/}"), HasSubstr("not valid JSON at byte"));
  EXPECT_THAT(json_error("[1,]"), HasSubstr("not valid JSON at byte 4"));
  EXPECT_THAT(json_error("{\"a\":1,}"), HasSubstr("not valid JSON at byte 8"));
}

TEST(Json, B2_the_size_is_capped) {
  EXPECT_THAT(json_error("[1,2,3]", {6, 64}), AllOf(HasSubstr("too large"), HasSubstr("7 B"), HasSubstr("6 B")));
  EXPECT_EQ(parse_json("[1,2,3]", "s", {7, 64}).size(), 3u);
}

TEST(Json, A5_what_is_no_json_is_an_error_with_its_place) {
  EXPECT_THAT(json_error("{"), AllOf(HasSubstr("at byte"), HasSubstr("unexpected end of input")));
  EXPECT_THAT(json_error("{} x"), HasSubstr("not valid JSON at byte 4"));
  EXPECT_THAT(json_error("{\"a\":\"\xFF\"}"), AllOf(HasSubstr("at byte 6"), HasSubstr("not UTF-8")));
  EXPECT_THAT(json_error("{\"a\":\"\xED\xA0\x80\"}"), HasSubstr("not UTF-8")) << "a surrogate";
  EXPECT_THAT(json_error("{\"a\":\"\\ud800\"}"), HasSubstr("not valid JSON at byte"));
  EXPECT_THAT(json_error("{\"a\":\"x\ny\"}"), HasSubstr("not valid JSON at byte"));
  EXPECT_THAT(json_error("NaN"), HasSubstr("not valid JSON at byte"));
  EXPECT_THAT(json_error("{\"a\":1e400}"), HasSubstr("too large"));
  EXPECT_THAT(json_error("\x1b[31m"), HasSubstr("U+001B")) << "shown by number";
}

TEST(Json, A5_a_nul_byte_does_not_end_the_text) {
  EXPECT_THAT(json_error(std::string_view("{}\0garbage", 10)), AllOf(HasSubstr("NUL"), HasSubstr("byte 2")));
  EXPECT_THAT(json_error(std::string_view("{\"a\0b\":1}", 9)), HasSubstr("NUL"));
  EXPECT_EQ(parse_json(R"(["a\u0000b"])", "s")[0], std::string("a\0b", 3)) << "escaped, it is a character";
}

TEST(Json, A6_nesting_is_limited_before_a_tree_is_built) {
  const auto nested = [](size_t depth, std::string_view open) {
    std::string text;
    for (size_t i = 0; i < depth; ++i) text += open;
    return text;
  };
  EXPECT_THAT(json_error(nested(100'000, "[")), AllOf(HasSubstr("too deep at byte 65"), HasSubstr("64 levels")));
  EXPECT_THAT(json_error(nested(100'000, "{\"a\":")), HasSubstr("too deep"));
  EXPECT_THAT(json_error(nested(64u << 20, "["), {128u << 20, 64}), HasSubstr("too deep"));
  EXPECT_NO_THROW(parse_json(nested(64, "[") + nested(64, "]"), "s"));
  EXPECT_THAT(json_error(nested(65, "[") + nested(65, "]")), HasSubstr("too deep"));
}

TEST(Json, A7_duplicate_keys_are_errors) {
  EXPECT_THAT(json_error(R"({"a":1,"b":2,"a":3})"), AllOf(HasSubstr("duplicate key \"a\""), HasSubstr("byte 0")));
  EXPECT_THAT(json_error(R"([0,{"x":{"a":1,"a":1}}])"), AllOf(HasSubstr("duplicate key \"a\""), HasSubstr("byte 8")));
  EXPECT_THAT(json_error("{\"a\":1,\"\\u0061\":2}"), HasSubstr("duplicate key")) << "the same key, escaped";
  EXPECT_NO_THROW(parse_json(R"([{"a":1},{"a":1},{"b":{"a":1},"a":1}])", "s"));
}

TEST(Json, C4_a_large_object_takes_no_quadratic_time) {
  std::string text = "{";
  for (int i = 0; i < 200'000; ++i) text += fmt::format("{}\"key number {}\":{}", i ? "," : "", i, i);
  text += "}";
  const auto begin = std::chrono::steady_clock::now();
  const Json json = parse_json(text, "s");
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  EXPECT_EQ(json.size(), 200'000u);
  EXPECT_EQ(json.get_ref<const Json::object_t&>().back().second, 199'999);
  EXPECT_LT(seconds, 5.0);  // looking every key up would take minutes
}

TEST(Json, truncated_anywhere_it_is_an_error_and_flipped_anywhere_it_ends) {
  const std::string text = R"({"a":[1,-2.5e3,"\u00e9x"],"b":{"c":null,"d":[true,false]}})";
  for (size_t size = 0; size < text.size(); ++size) EXPECT_NE(json_error(text.substr(0, size)), "");
  for (size_t i = 0; i < text.size(); ++i) {
    for (int value = 0; value < 256; ++value) {
      std::string flipped = text;
      flipped[i] = static_cast<char>(value);
      try {
        parse_json(flipped, "s");
      } catch (const Error& error) {
        ASSERT_THAT(error.what(), HasSubstr("s "));
      }
    }
  }
}

}  // namespace
}  // namespace headscope::test
