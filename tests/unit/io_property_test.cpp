// What is written is read back bit for bit, whatever the names, types and shapes.
#include <algorithm>
#include <cstring>
#include <random>
#include <string>

#include "core/base/error.h"
#include "core/io/safetensors.h"
#include "tests/unit/io_support.h"

namespace headscope::test {
namespace {

using Random = std::mt19937_64;

size_t below(Random& random, size_t limit) { return static_cast<size_t>(random() % limit); }

/// Any valid UTF-8, control characters and path parts included.
std::string random_name(Random& random) {
  static constexpr std::array<std::string_view, 14> parts{"h.", "..", "/",    "\\", "\"",     "\n", "é",
                                                          "😀",  "%s", "\x7f", "0",  "weight", " ",  "\xE2\x80\xAE"};
  std::string name;
  for (size_t i = below(random, 12); i > 0; --i) name += parts[below(random, parts.size())];
  return name;
}

TensorInfo random_tensor(Random& random, size_t number) {
  static constexpr std::array<const char*, 18> dtypes{"F32",  "F16", "BF16",    "F64",     "I64", "I32",
                                                      "I16",  "I8",  "U64",     "U32",     "U16", "U8",
                                                      "BOOL", "C64", "F8_E4M3", "F8_E5M2", "F4",  "F8_E8M0"};
  TensorInfo tensor;
  tensor.name = fmt::format("{}#{}", random_name(random), number);
  tensor.dtype_text = dtypes[below(random, dtypes.size())];
  const auto dtype = find_dtype(tensor.dtype_text).value();
  tensor.dtype = dtype.dtype;
  for (size_t i = below(random, 5); i > 0; --i) tensor.shape.push_back(static_cast<int64_t>(below(random, 7)));
  if (dtype.bits == 4) tensor.shape = {static_cast<int64_t>(2 * below(random, 9))};
  tensor.bytes = checked_tensor_bytes(tensor.shape, dtype.bits, tensor.name, "test");
  return tensor;
}

struct RandomModel {
  std::vector<TensorInfo> tensors;
  std::vector<std::vector<std::byte>> data;

  explicit RandomModel(uint64_t seed) {
    Random random(seed);
    for (size_t count = below(random, 12), i = 0; i < count; ++i) {
      tensors.push_back(random_tensor(random, i));
      data.emplace_back(tensors.back().bytes);
      for (std::byte& byte : data.back()) byte = static_cast<std::byte>(random());
    }
  }

  /// In pieces of random sizes.
  void write(const std::filesystem::path& file, Random& random) const {
    SafetensorsWriter writer(file, tensors, {{"format", "pt"}, {"quote\"d", "é\n"}});
    for (const auto& bytes : data) {
      for (size_t done = 0; done < bytes.size();) {
        const size_t count = std::min(bytes.size() - done, 1 + below(random, 200));
        writer.append(std::span(bytes).subspan(done, count));
        done += count;
      }
    }
    writer.finish();
  }
};

void expect_equal(Checkpoint& checkpoint, const RandomModel& model) {
  ASSERT_EQ(checkpoint.tensors().size(), model.tensors.size());
  for (size_t i = 0; i < model.tensors.size(); ++i) {
    const TensorInfo& expected = model.tensors[i];
    const TensorInfo* actual = checkpoint.find(expected.name);
    ASSERT_NE(actual, nullptr) << quoted(expected.name);
    EXPECT_EQ(actual->dtype_text, expected.dtype_text);
    EXPECT_EQ(actual->shape, expected.shape);
    EXPECT_EQ(raw_of(checkpoint, expected.name), model.data[i]) << expected.dtype_text;
  }
}

TEST(RoundTrip, folder_to_h5_to_folder_is_bit_identical_for_random_models) {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    SCOPED_TRACE(seed);
    TempFolder folder;
    const RandomModel model(seed);
    Random random(seed + 1000);
    std::filesystem::create_directory(folder / "m");
    put_file(folder / "m/config.json", fmt::format("{{ \"seed\" : {} }}\r\n ", seed));
    if (seed % 2) put_file(folder / "m/tokenizer.json", "{\"version\":\"1.0\"}");
    if (seed % 3 == 0) {
      put_file(folder / "m/vocab.json", "{}");
      put_file(folder / "m/merges.txt", "#version\n");
      put_file(folder / "m/tokenizer_config.json", "{\"add_bos_token\": true}");
    }
    model.write(folder / "m/model.safetensors", random);
    const auto original = open_checkpoint(folder / "m");
    expect_equal(*original, model);
    pack_checkpoint(*original, folder / "m.h5", {});
    const auto packed = open_checkpoint(folder / "m.h5");
    expect_equal(*packed, model);
    expect_same_checkpoint(*packed, *original);
    unpack_checkpoint(*packed, folder / "back", {});
    const auto back = open_checkpoint(folder / "back");
    expect_same_checkpoint(*back, *original);
    EXPECT_EQ(file_content(folder / "back/config.json"), file_content(folder / "m/config.json"));
  }
}

TEST(RoundTrip, floats_read_from_folder_and_h5_are_the_same_numbers) {
  TempFolder folder;
  std::filesystem::create_directory(folder / "m");
  put_file(folder / "m/config.json", "{}");
  std::vector<TensorInfo> tensors;
  for (const char* dtype : {"F32", "F16", "BF16"}) {
    const auto type = find_dtype(dtype).value();
    // More than one block of either reader, and not a multiple of any.
    tensors.push_back({dtype, type.dtype, dtype, {3, 350'001}, uint64_t{3} * 350'001 * type.bits / 8});
  }
  SafetensorsWriter writer(folder / "m/model.safetensors", tensors);
  Random random(7);
  for (const TensorInfo& tensor : tensors) {
    std::vector<uint16_t> values(tensor.bytes / 2);
    for (uint16_t& value : values) value = static_cast<uint16_t>(random());
    writer.append(std::as_bytes(std::span(values)));
  }
  writer.finish();
  const auto original = open_checkpoint(folder / "m");
  pack_checkpoint(*original, folder / "m.h5", {});
  const auto packed = open_checkpoint(folder / "m.h5");
  for (const TensorInfo& tensor : tensors) {
    const auto count = static_cast<size_t>(tensor.elements());
    std::vector<float> a(count), b(count);
    original->read_f32(tensor, a);
    packed->read_f32(tensor, b);
    EXPECT_EQ(std::memcmp(a.data(), b.data(), count * sizeof(float)), 0) << tensor.name;
    const auto raw = raw_of(*original, tensor.name);
    const size_t size = raw.size() / count;
    for (size_t i = 0; i < count; i += 997) {
      uint32_t bits = 0, found;
      std::memcpy(&bits, raw.data() + i * size, size);
      std::memcpy(&found, &a[i], 4);
      if (tensor.dtype == DType::bf16) bits <<= 16;
      if (tensor.dtype != DType::f16) {
        ASSERT_EQ(found, bits) << i;
      }
    }
  }
}

TEST(SafetensorsWriter, too_few_bytes_leave_nothing_behind) {
  TempFolder folder;
  const std::vector<TensorInfo> tensors{{"a", DType::f32, "F32", {2}, 8}};
  put_file(folder / "f", "old");
  EXPECT_THAT(error_of([&] {
                SafetensorsWriter writer(folder / "f", tensors);
                writer.append(std::vector<std::byte>(7));
                writer.finish();
              }),
              ::testing::HasSubstr("not completed"));
  EXPECT_EQ(file_content(folder / "f"), "old");
  EXPECT_THAT(folder.names(), ::testing::ElementsAre("f"));
}

TEST(Cancel, reading_stops_when_asked) {
  TempFolder folder;
  make_small_folder(folder / "m");
  const auto checkpoint = open_checkpoint(folder / "m");
  std::stop_source stop;
  stop.request_stop();
  Progress progress;
  progress.stop = stop.get_token();
  std::vector<float> a(6), b(4);
  EXPECT_THROW(checkpoint->read_f32(*checkpoint->find("a"), a, progress), Cancelled);
  EXPECT_THROW(checkpoint->read_f32(*checkpoint->find("b"), b, progress), Cancelled);
  EXPECT_THROW(pack_checkpoint(*checkpoint, folder / "out.h5", progress), Cancelled);
  EXPECT_THROW(unpack_checkpoint(*checkpoint, folder / "out", progress), Cancelled);
  EXPECT_THAT(folder.names(), ::testing::ElementsAre("m")) << "nothing half-written stays";
}

}  // namespace
}  // namespace headscope::test
