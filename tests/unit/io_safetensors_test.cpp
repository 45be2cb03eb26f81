// Rows A1 to A22 of bad safetensors files, one test per row.
#include "core/io/safetensors.h"

#include <unistd.h>

#include <chrono>
#include <string>

#include "core/base/error.h"
#include "tests/unit/io_support.h"

namespace headscope::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

/// Reads one file after another from one name.
class Safetensors : public ::testing::Test {
 protected:
  SafetensorsHeader read(std::string_view bytes) {
    put_file(folder_ / "m.safetensors", bytes);
    return read_safetensors_header(InputFile(folder_ / "m.safetensors"));
  }
  std::string refusal(std::string_view bytes) {
    const std::string message = error_of([&] { read(bytes); });
    EXPECT_THAT(message, HasSubstr("m.safetensors\"")) << "names the file";
    return message;
  }
  std::string refused_header(std::string_view header, std::string_view data = "") {
    return refusal(safetensors_bytes(header, data));
  }
  /// One tensor "w" with these three fields, as JSON.
  std::string refused_tensor(std::string_view dtype, std::string_view shape, std::string_view offsets,
                             std::string_view data = "") {
    return refused_header(fmt::format(R"({{"w":{{"dtype":{},"shape":{},"data_offsets":{}}}}})", dtype, shape, offsets),
                          data);
  }

  TempFolder folder_;
};

std::string with_length(uint64_t length, std::string_view rest) {
  return std::string(reinterpret_cast<const char*>(&length), sizeof length).append(rest);
}

TEST_F(Safetensors, a_valid_file_is_listed_in_the_order_of_its_data) {
  const SafetensorsHeader header =
      read(safetensors_bytes(R"({"z":{"data_offsets":[8,12],"dtype":"F32","shape":[1]},"__metadata__":{"format":"pt"},)"
                             R"("y":{"dtype":"I64","shape":[],"data_offsets":[0,8]}}   )",
                             "012345678901"));
  ASSERT_EQ(header.tensors.size(), 2u);
  EXPECT_EQ(header.tensors[0].name, "y");
  EXPECT_EQ(header.tensors[0].dtype, DType::i64);
  EXPECT_EQ(header.tensors[0].elements(), 1);
  EXPECT_EQ(header.tensors[0].bytes, 8u);
  EXPECT_EQ(header.tensors[1].name, "z");
  EXPECT_EQ(header.tensors[1].dtype_text, "F32");
  EXPECT_EQ(header.offsets[1], header.offsets[0] + 8);
  EXPECT_EQ(header.metadata.at("format"), "pt");
}

TEST_F(Safetensors, no_tensors_at_all_is_a_valid_file) {
  EXPECT_TRUE(read(safetensors_bytes("{}", "")).tensors.empty());
}

TEST_F(Safetensors, A1_shorter_than_the_length_field) {
  EXPECT_THAT(refusal(""), AllOf(HasSubstr("shorter than 8 bytes"), HasSubstr("0 found")));
  EXPECT_THAT(refusal("1234567"), AllOf(HasSubstr("shorter than 8 bytes"), HasSubstr("7 found")));
}

TEST_F(Safetensors, A2_header_longer_than_the_file) {
  const std::string bytes = with_length(1000, std::string(92, ' '));
  EXPECT_THAT(refusal(bytes), AllOf(HasSubstr("longer than the file"), HasSubstr("1,000"), HasSubstr("100 in")));
  const std::string large = with_length(99'000'000, "{}");
  EXPECT_LT(largest_allocation([&] { read(large); }), 65'536u) << "nothing is allocated by that length";
}

TEST_F(Safetensors, A3_header_length_out_of_range) {
  for (const uint64_t length : {UINT64_MAX, uint64_t{1} << 63, uint64_t{100'000'001}}) {
    const std::string bytes = with_length(length, "{}" + std::string(100, ' '));
    EXPECT_THAT(refusal(bytes), AllOf(HasSubstr("header is too large"), HasSubstr("100,000,000")));
    EXPECT_LT(largest_allocation([&] { read(bytes); }), 65'536u);
  }
}

TEST_F(Safetensors, A4_header_must_be_an_object) {
  for (const std::string header : {"", "[]", "null", "\"x\"", " {}", "\xEF\xBB\xBF{}", "\n{}"}) {
    EXPECT_THAT(refused_header(header), HasSubstr("must be an object, starting with '{'")) << header;
  }
}

TEST_F(Safetensors, A5_header_is_no_json) {
  EXPECT_THAT(refused_header("{\"a\xFF\":1}"), AllOf(HasSubstr("not UTF-8"), HasSubstr("byte 3")));
  EXPECT_THAT(refused_header(std::string_view("{\"a\0\":1}", 8)), AllOf(HasSubstr("NUL"), HasSubstr("byte 3")));
  EXPECT_THAT(refused_header("{"), AllOf(HasSubstr("not valid JSON at byte"), HasSubstr("end of input")));
  EXPECT_THAT(refused_header("{} {}"), HasSubstr("not valid JSON at byte 4"));
}

TEST_F(Safetensors, A6_deep_nesting) {
  const auto nested = [](std::string_view begin, size_t depth) { return std::string(begin) + std::string(depth, '['); };
  EXPECT_THAT(refused_header(nested("{\"a\":{\"shape\":", 100'000)), HasSubstr("too deep"));
  EXPECT_THAT(refused_header(nested("{\"a\":", 100'000)), HasSubstr("must be an object"));
  EXPECT_THAT(refused_header(nested("{\"__metadata__\":{\"k\":", 100'000)), HasSubstr("must be strings"));
  EXPECT_THAT(refused_header(nested("{\"a\":{\"shape\":", 64u << 20)), HasSubstr("too deep"));
  EXPECT_THAT(refused_header(nested("[", 100'000)), HasSubstr("starting with '{'"));
}

TEST_F(Safetensors, A7_duplicate_keys) {
  const std::string entry = R"({"dtype":"F32","shape":[0],"data_offsets":[0,0]})";
  EXPECT_THAT(refused_header("{\"a\":" + entry + ",\"b\":" + entry + ",\"a\":" + entry + "}"),
              HasSubstr("duplicate key \"a\""));
  EXPECT_THAT(refused_header(R"({"a":{"dtype":"F32","shape":[0],"shape":[1],"data_offsets":[0,0]}})"),
              HasSubstr("duplicate key \"shape\""));
  EXPECT_THAT(refused_header(R"({"__metadata__":{"k":"1","k":"2"}})"), HasSubstr("duplicate key \"k\""));
}

TEST_F(Safetensors, A7_missing_and_unknown_keys) {
  EXPECT_THAT(refused_header(R"({"a":{"shape":[0],"data_offsets":[0,0]}})"), HasSubstr("\"a\" has no dtype"));
  EXPECT_THAT(refused_header(R"({"a":{"dtype":"F32","data_offsets":[0,0]}})"), HasSubstr("has no shape"));
  EXPECT_THAT(refused_header(R"({"a":{"dtype":"F32","shape":[0]}})"), HasSubstr("has no data_offsets"));
  EXPECT_THAT(refused_header(R"({"a":{"dtype":"F32","shap":[0]}})"), HasSubstr("unknown key \"shap\""));
  EXPECT_THAT(refused_header(R"({"a":5})"), AllOf(HasSubstr("\"a\""), HasSubstr("must be an object")));
  EXPECT_THAT(refused_header(R"({"a":{"dtype":"F32","shape":[{}]}})"), HasSubstr("too deep"));
}

TEST_F(Safetensors, A8_data_offsets_must_cover_without_hole_or_overlap) {
  const auto two = [](int begin_a, int end_a, int begin_b, int end_b) {
    return fmt::format(R"({{"a":{{"dtype":"U8","shape":[{}],"data_offsets":[{},{}]}},)"
                       R"("b":{{"dtype":"U8","shape":[{}],"data_offsets":[{},{}]}}}})",
                       end_a - begin_a, begin_a, end_a, end_b - begin_b, begin_b, end_b);
  };
  EXPECT_EQ(read(safetensors_bytes(two(4, 8, 0, 4), "01234567")).tensors[0].name, "b");
  EXPECT_THAT(refused_header(two(0, 5, 4, 8), "01234567"), AllOf(HasSubstr("\"b\" overlaps"), HasSubstr("\"a\"")));
  EXPECT_THAT(refused_header(two(0, 8, 0, 8), "01234567"), HasSubstr("overlaps"));
  EXPECT_THAT(refused_header(two(0, 8, 2, 4), "01234567"), HasSubstr("overlaps"));
  EXPECT_THAT(refused_header(two(0, 3, 4, 8), "01234567"),
              AllOf(HasSubstr("hole"), HasSubstr("before tensor \"b\""), HasSubstr("begins at 4, expected 3")));
  EXPECT_THAT(refused_header(two(1, 4, 4, 8), "01234567"), AllOf(HasSubstr("hole"), HasSubstr("\"a\"")));
  EXPECT_THAT(refused_tensor("\"U8\"", "[4]", "[8,4]", "01234567"), HasSubstr("the end is before the begin"));
}

TEST_F(Safetensors, A9_data_offsets_must_be_two_unsigned_integers) {
  for (const char* offsets : {"[0]", "[0,4,8]", "[\"0\",\"4\"]", "[-1,4]", "[0,1.5]", "[0,1e2]", "[]",
                              "[0,18446744073709551616]", "4", "\"0\"", "[null,4]", "[true,4]"}) {
    EXPECT_THAT(refused_tensor("\"F32\"", "[1]", offsets, "0123"),
                AllOf(HasSubstr("\"w\""), HasSubstr("must be two unsigned integers")))
        << offsets;
  }
}

TEST_F(Safetensors, A10_a_cut_file_is_truncated) {
  const std::string whole = small_safetensors();
  const size_t half = whole.size() - 20;
  for (const size_t size : {whole.size() - 1, half}) {
    EXPECT_THAT(refusal(whole.substr(0, size)),
                AllOf(HasSubstr("truncated"), HasSubstr(fmt::format("expected {} bytes", whole.size())),
                      HasSubstr(fmt::format("found {}", size))));
  }
}

TEST_F(Safetensors, A10_truncation_at_every_byte_is_an_error) {
  const std::string whole = small_safetensors();
  ASSERT_EQ(read(whole).tensors.size(), 3u);
  for (size_t size = 0; size < whole.size(); ++size) EXPECT_NE(refusal(whole.substr(0, size)), "") << size;
}

TEST_F(Safetensors, A11_trailing_bytes) {
  EXPECT_THAT(refusal(small_safetensors() + "x"), AllOf(HasSubstr("not fully covered"), HasSubstr("found 1 trailing")));
  EXPECT_THAT(refusal(small_safetensors() + "PK\x03\x04 and so on"), HasSubstr("not fully covered"));
}

TEST_F(Safetensors, A12_bad_shapes) {
  const auto with_shape = [&](std::string_view shape) {
    return refused_tensor("\"F32\"", shape, "[0,16]", std::string(16, 'x'));
  };
  EXPECT_THAT(with_shape("[2,9223372036854775808]"), HasSubstr("bad shape"));
  EXPECT_THAT(with_shape("[2,9223372036854775807]"), AllOf(HasSubstr("overflow"), HasSubstr("\"w\"")));
  EXPECT_THAT(with_shape("[4294967296,4294967296]"), HasSubstr("overflow"));
  EXPECT_THAT(with_shape("[4611686018427387904]"), HasSubstr("overflow")) << "in bits, no longer in elements";
  EXPECT_THAT(with_shape("[0,4294967296,4294967296]"), HasSubstr("overflow")) << "a zero hides nothing";
  EXPECT_THAT(with_shape("[-1,4]"), HasSubstr("bad shape"));
  EXPECT_THAT(with_shape("\"4\""), HasSubstr("bad shape"));
  EXPECT_THAT(with_shape("4"), HasSubstr("bad shape"));
  EXPECT_THAT(with_shape("[\"4\"]"), HasSubstr("bad shape"));
  EXPECT_THAT(with_shape("[4.0]"), HasSubstr("bad shape"));
  std::string many = "[1";
  for (int i = 1; i < 5000; ++i) many += ",1";
  EXPECT_THAT(with_shape(many + "]"), HasSubstr("rank > 8"));
  EXPECT_EQ(read(safetensors_bytes(R"({"w":{"dtype":"U8","shape":[1,1,1,1,1,1,1,2],"data_offsets":[0,2]}})", "ab"))
                .tensors[0]
                .elements(),
            2);
}

TEST_F(Safetensors, A13_shape_and_dtype_must_fit_the_bytes) {
  EXPECT_THAT(refused_tensor("\"F32\"", "[5]", "[0,16]", std::string(16, 'x')),
              AllOf(HasSubstr("\"w\""), HasSubstr("[5]"), HasSubstr("needs 20 bytes"), HasSubstr("hold 16"),
                    HasSubstr("mismatch")));
  EXPECT_THAT(refused_tensor("\"F33\"", "[4]", "[0,16]"),
              AllOf(HasSubstr("unknown dtype \"F33\""), HasSubstr("BF16"), HasSubstr("F32")));
  EXPECT_THAT(refused_tensor("\"f32\"", "[4]", "[0,16]"), HasSubstr("unknown dtype \"f32\""));
  EXPECT_THAT(refused_tensor("7", "[4]", "[0,16]"), HasSubstr("dtype must be a string"));
  EXPECT_THAT(refused_tensor("[\"F32\"]", "[4]", "[0,16]"), HasSubstr("dtype must be a string"));
  EXPECT_THAT(refused_tensor("\"F4\"", "[3]", "[0,2]", "xx"), HasSubstr("does not fill whole bytes"));
}

TEST_F(Safetensors, A14_every_dtype_is_listed_and_only_floats_are_read_as_numbers) {
  struct Case {
    const char* dtype;
    int bytes_of_8;
  };
  for (const auto [dtype, bytes] :
       {Case{"BOOL", 8}, {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},    {"I8", 8},   {"F8_E5M2", 8},
        {"F8_E4M3", 8},  {"F8_E8M0", 8}, {"I16", 16},    {"U16", 16},    {"I32", 32},  {"U32", 32}, {"C64", 64},
        {"F64", 64},     {"I64", 64},    {"U64", 64},    {"F16", 16},    {"BF16", 16}, {"F32", 32}}) {
    const std::string header =
        fmt::format(R"({{"w":{{"dtype":"{}","shape":[2,4],"data_offsets":[0,{}]}}}})", dtype, bytes);
    const SafetensorsHeader read_back = read(safetensors_bytes(header, std::string(static_cast<size_t>(bytes), '\1')));
    const TensorInfo& info = read_back.tensors.at(0);
    EXPECT_EQ(info.dtype_text, dtype);
    const InputFile file(folder_ / "m.safetensors");
    std::vector<float> out(8);
    const auto use = [&] { read_tensor_f32(file, read_back.offsets[0], info, out, {}); };
    if (info.dtype == DType::f32 || info.dtype == DType::f16 || info.dtype == DType::bf16)
      EXPECT_NO_THROW(use());
    else
      EXPECT_THAT(error_of(use), AllOf(HasSubstr(dtype), HasSubstr("not supported"), HasSubstr("\"w\"")));
  }
}

TEST_F(Safetensors, A15_scalars_and_empty_tensors_load) {
  const SafetensorsHeader header = read(safetensors_bytes(
      R"({"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"e":{"dtype":"F32","shape":[0,4],"data_offsets":[4,4]}})",
      std::string_view("\0\0\x80\x3f", 4)));
  const InputFile file(folder_ / "m.safetensors");
  float scalar = 0;
  read_tensor_f32(file, header.offsets[0], header.tensors[0], std::span(&scalar, 1), {});
  EXPECT_EQ(scalar, 1.0f);
  EXPECT_NO_THROW(read_tensor_f32(file, header.offsets[1], header.tensors[1], {}, {}));
}

TEST_F(Safetensors, A16_a_million_tensors_load_and_more_are_refused) {
  const auto header_of = [](int count) {
    std::string header = "{";
    for (int i = 0; i < count; ++i) {
      header +=
          fmt::format(R"({}"t{}":{{"dtype":"U8","shape":[1],"data_offsets":[{},{}]}})", i ? "," : "", i, i, i + 1);
    }
    return header + "}";
  };
  const auto begin = std::chrono::steady_clock::now();
  const std::string million = header_of(1'000'000);
  EXPECT_EQ(parse_safetensors_header(million, 8 + million.size() + 1'000'000, "m").tensors.size(), 1'000'000u);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  EXPECT_LT(seconds, 30.0);  // about 1.5 s without sanitizers
  const std::string more = header_of(1'000'001);
  EXPECT_THAT(error_of([&] { parse_safetensors_header(more, 0, "m"); }),
              AllOf(HasSubstr("too many tensors"), HasSubstr("limit 1,000,000")));
}

TEST_F(Safetensors, A17_names_are_only_names) {
  const std::string longest(1 << 20, 'n');
  for (const std::string& name :
       {std::string("../../x"), std::string("%s%n%s"), std::string("a##b"), longest, std::string("\x1b[31m\n"),
        std::string("\xE2\x80\xAE"
                    "abc"),
        std::string()}) {
    const std::string key = Json(name).dump();
    const std::string entry = ":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}";
    EXPECT_EQ(read(safetensors_bytes("{" + key + entry, "x")).tensors[0].name, name);
    const std::string message = refused_header("{" + key + entry, "");
    EXPECT_LT(message.size(), 500u);
    EXPECT_EQ(message.find_first_of("\x1b\n"), message.npos);
  }
}

TEST_F(Safetensors, A18_metadata_must_be_strings_and_not_too_many) {
  EXPECT_THAT(refused_header(R"({"__metadata__":{"k":1}})"), AllOf(HasSubstr("__metadata__"), HasSubstr("strings")));
  EXPECT_THAT(refused_header(R"({"__metadata__":{"k":{}}})"), HasSubstr("must be strings"));
  EXPECT_THAT(refused_header(R"({"__metadata__":{"k":[]}})"), HasSubstr("must be strings"));
  EXPECT_THAT(refused_header(R"({"__metadata__":[]})"), HasSubstr("must be an object"));
  const std::string large = "{\"__metadata__\":{\"k\":\"" + std::string(90'000'000, 'm') + "\"}}";
  EXPECT_THAT(refused_header(large), HasSubstr("more than 16 MiB of metadata"));
}

TEST_F(Safetensors, A20_a_file_shortened_after_opening_is_an_error) {
  put_file(folder_ / "m.safetensors", small_safetensors());
  const InputFile file(folder_ / "m.safetensors");
  const SafetensorsHeader header = read_safetensors_header(file);
  ASSERT_EQ(truncate(file.path().c_str(), static_cast<off_t>(header.offsets[1])), 0);
  std::vector<float> a(6), b(4), c(4);
  EXPECT_NO_THROW(read_tensor_f32(file, header.offsets[0], header.tensors[0], a, {}));
  EXPECT_THAT(error_of([&] { read_tensor_f32(file, header.offsets[1], header.tensors[1], b, {}); }),
              HasSubstr("became shorter"));
  EXPECT_THAT(error_of([&] { read_tensor_f32(file, header.offsets[2], header.tensors[2], c, {}); }),
              HasSubstr("became shorter"));
}

TEST_F(Safetensors, A21_other_files_are_named_for_what_they_are) {
  const std::string rest(200, 'x');
  EXPECT_THAT(refusal(std::string("PK\x03\x04\x00\x00\x08\x08", 8) + rest),
              AllOf(HasSubstr("zip archive"), HasSubstr("`headscope import DIR OUT`")));
  EXPECT_THAT(refusal("\x80\x02}q\x01(X\x05" + rest),
              AllOf(HasSubstr("pickle"), HasSubstr("`headscope import DIR OUT`")));
  EXPECT_THAT(refusal("GGUF\x03" + rest), HasSubstr("GGUF"));
  EXPECT_THAT(refusal("<!DOCTYPE html><html>" + rest), HasSubstr("web page"));
  EXPECT_THAT(refusal("\n <HTML>" + rest), HasSubstr("web page"));
  EXPECT_THAT(refusal("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"),
              AllOf(HasSubstr("git-lfs"), HasSubstr("git lfs pull")));
  EXPECT_THAT(refusal("\x89HDF\r\n\x1a\n" + rest), HasSubstr("HDF5"));
  EXPECT_THAT(refusal("{\"error\":\"Repository not found\"}"), HasSubstr("JSON text"));
}

TEST_F(Safetensors, A22_a_big_endian_length_is_told) {
  const uint64_t swapped = __builtin_bswap64(2);
  EXPECT_THAT(refusal(with_length(swapped, "{}")), AllOf(HasSubstr("too large"), HasSubstr("byte order")));
}

TEST_F(Safetensors, every_byte_of_the_header_may_be_anything) {
  const std::string whole = small_safetensors();
  const size_t header_end = whole.size() - 40;
  for (size_t i = 0; i < header_end; ++i) {
    for (int value = 0; value < 256; ++value) {
      std::string flipped = whole;
      flipped[i] = static_cast<char>(value);
      try {
        parse_safetensors_header(std::string_view(flipped).substr(8, header_end - 8), whole.size(), "m");
      } catch (const Error&) {
      }
    }
  }
}

}  // namespace
}  // namespace headscope::test
