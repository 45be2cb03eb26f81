// Rows B1, B2 and B14 to B23 of bad model folders, one test per row.
#include <sys/stat.h>

#include <filesystem>
#include <string>

#include "core/base/error.h"
#include "core/io/safetensors.h"
#include "tests/unit/io_support.h"

namespace headscope::test {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
namespace fs = std::filesystem;

constexpr const char* no_tokenizer = "no tokenizer found: token ids can still be given";

class HfFolder : public ::testing::Test {
 protected:
  HfFolder() { make_small_folder(folder_ / "m"); }

  fs::path operator()(const fs::path& name) const { return folder_ / "m" / name; }
  std::unique_ptr<Checkpoint> open() const { return open_checkpoint(folder_ / "m"); }
  std::string refusal() const {
    return error_of([&] { open(); });
  }
  std::vector<std::string> notes() const {
    const auto checkpoint = open();
    return {checkpoint->notes().begin(), checkpoint->notes().end()};
  }
  void put(const char* name, std::string_view content) const { put_file((*this)(name), content); }

  /// Two shards with "a" and "b" in place of the one file, and an index with this weight_map and total_size.
  void make_shards(std::string_view weight_map, uint64_t total_size = 8) const {
    fs::remove((*this)("model.safetensors"));
    for (const char* name : {"a", "b"}) {
      put(fmt::format("s{}.safetensors", name).c_str(),
          safetensors_bytes(fmt::format(R"({{"{}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}})", name),
                            "\1\2\3\4"));
    }
    put("model.safetensors.index.json",
        fmt::format(R"({{"metadata":{{"total_size":{}}},"weight_map":{}}})", total_size, weight_map));
  }

  TempFolder folder_;
};

TEST_F(HfFolder, a_valid_folder_opens) {
  put("tokenizer.json", "{}");
  const auto checkpoint = open();
  EXPECT_EQ(checkpoint->format(), "safetensors");
  EXPECT_EQ(checkpoint->path(), folder_ / "m");
  EXPECT_EQ(checkpoint->config()["model_type"], "gpt2");
  EXPECT_EQ(checkpoint->config_text(), file_content((*this)("config.json")));
  EXPECT_EQ(checkpoint->tokenizer().tokenizer_json, "{}");
  EXPECT_EQ(checkpoint->tensors().size(), 3u);
  EXPECT_EQ(checkpoint->find("nothing"), nullptr);
  EXPECT_EQ(checkpoint->find("a"), &checkpoint->tensors()[0]);
  EXPECT_THAT(checkpoint->notes(), IsEmpty());
  EXPECT_EQ(shape_text(checkpoint->find("a")->shape), "[2, 3]");
}

TEST_F(HfFolder, reading_checks_what_is_asked_for) {
  const auto checkpoint = open();
  std::vector<float> wrong(5);
  EXPECT_THAT(error_of([&] { checkpoint->read_f32(*checkpoint->find("a"), wrong); }),
              AllOf(HasSubstr("\"a\""), HasSubstr("6 elements"), HasSubstr("5 were")));
  std::vector<std::byte> short_bytes(23);
  EXPECT_THAT(error_of([&] { checkpoint->read_raw(*checkpoint->find("a"), short_bytes); }), HasSubstr("24 bytes"));
  TensorInfo stranger = *checkpoint->find("a");
  stranger.name = "stranger";
  std::vector<float> right(6);
  EXPECT_THAT(error_of([&] { checkpoint->read_f32(stranger, right); }), HasSubstr("no tensor \"stranger\""));
}

TEST_F(HfFolder, B1_each_kind_of_wrong_path_has_its_own_text) {
  const auto refused = [](const fs::path& path) { return error_of([&] { open_checkpoint(path); }); };
  EXPECT_THAT(refused(folder_ / "none"), AllOf(HasSubstr("cannot open"), HasSubstr("No such file")));
  EXPECT_THAT(refused("/" + std::string(5000, 'x')), AllOf(HasSubstr("too long"), HasSubstr("5001 bytes")));
  EXPECT_THAT(refused(""), HasSubstr("No such file"));
  fs::create_directory(folder_ / "empty");
  EXPECT_THAT(refused(folder_ / "empty"), AllOf(HasSubstr("is an empty folder"), HasSubstr("config.json")));
  put_file(folder_ / "empty/README.md", "x");
  EXPECT_THAT(refused(folder_ / "empty"), HasSubstr("has no config.json"));
  EXPECT_THAT(refused((*this)("model.safetensors")), AllOf(HasSubstr("give the folder"), HasSubstr("m\"")));
  put_file(folder_ / "notes.txt", "text");
  EXPECT_THAT(refused(folder_ / "notes.txt"), HasSubstr("is not a model"));
  put_file(folder_ / "m.gguf", "GGUF\3");
  EXPECT_THAT(refused(folder_ / "m.gguf"), AllOf(HasSubstr("is not a model"), HasSubstr("llama.cpp")));
  put_file(folder_ / "zero.h5", "");
  EXPECT_THAT(refused(folder_ / "zero.h5"), HasSubstr("the file is empty"));
  put_file(folder_ / "m.pt", "PK\3\4 and so on");
  EXPECT_THAT(refused(folder_ / "m.pt"), HasSubstr("convert it to safetensors"));
  EXPECT_THAT(refused("/dev/zero"), HasSubstr("not a regular file"));
}

TEST_F(HfFolder, B2_config_must_be_json_of_bounded_size) {
  put("config.json", "");
  EXPECT_THAT(refusal(), AllOf(HasSubstr("config.json"), HasSubstr("empty")));
  put("config.json", "\xEF\xBB\xBF{}");
  EXPECT_NO_THROW(open());
  put("config.json", "{\"a\": 1, // note\n}");
  EXPECT_THAT(refusal(), AllOf(HasSubstr("config.json"), HasSubstr("not valid JSON at byte")));
  put("config.json", std::string_view("\xFF\xFE{\0}\0", 6));
  EXPECT_THAT(refusal(), HasSubstr("UTF-16"));
  put("config.json", "[1]");
  EXPECT_THAT(refusal(), AllOf(HasSubstr("must hold a JSON object"), HasSubstr("array")));
  put("config.json", "");
  fs::resize_file((*this)("config.json"), 200u << 20);
  EXPECT_THAT(refusal(), AllOf(HasSubstr("too large"), HasSubstr("16.0 MiB")));
}

TEST_F(HfFolder, B14_custom_code_is_noted_and_never_run) {
  put("config.json", R"({"auto_map":{"AutoModel":"modeling_x.X"}})");
  put("modeling_x.py", "raise SystemExit");
  EXPECT_THAT(notes(), Contains(HasSubstr("(auto_map): custom code is never run")));
  put("config.json", "{}");
  put("configuration_x.py", "raise SystemExit");
  EXPECT_THAT(notes(), Contains(HasSubstr("(\"configuration_x.py\"): custom code is never run")));
}

TEST_F(HfFolder, shards_open_as_one_checkpoint) {
  make_shards(R"({"a":"sa.safetensors","b":"sb.safetensors"})");
  const auto checkpoint = open();
  EXPECT_EQ(checkpoint->format(), "safetensors, 2 shards");
  EXPECT_EQ(checkpoint->tensors().size(), 2u);
  EXPECT_EQ(raw_of(*checkpoint, "b").size(), 4u);
  EXPECT_THAT(checkpoint->notes(), ElementsAre(no_tokenizer));
}

TEST_F(HfFolder, B16_shard_names_must_be_plain) {
  put_file(folder_ / "x.safetensors", small_safetensors());
  for (const char* name :
       {"../x.safetensors", "/etc/passwd", "a/b.safetensors", "", "x\\u0000.safetensors", "C:\\\\x",
        "..\\\\x.safetensors", "C:x.safetensors", "NUL", "/dev/zero", "..", ".safetensors", "a\\n.safetensors"}) {
    make_shards(fmt::format(R"({{"a":"sa.safetensors","b":"{}"}})", name));
    EXPECT_THAT(refusal(), AllOf(HasSubstr("\"b\""), HasSubstr("must be a plain file name"))) << name;
  }
  make_shards(R"({"a":5})");
  EXPECT_THAT(refusal(), HasSubstr("must be a plain file name"));
}

TEST_F(HfFolder, B17_a_missing_shard) {
  make_shards(R"({"a":"sa.safetensors","b":"gone.safetensors","c":"lost.safetensors"})");
  EXPECT_THAT(refusal(), AllOf(HasSubstr("gone.safetensors"), HasSubstr("lost.safetensors"), HasSubstr("missing")));
}

TEST_F(HfFolder, B17_a_shard_that_lacks_its_tensor) {
  make_shards(R"({"a":"sa.safetensors","b":"sb.safetensors","c":"sb.safetensors"})");
  EXPECT_THAT(refusal(), AllOf(HasSubstr("\"sb.safetensors\" lacks the tensor \"c\"")));
  make_shards(R"({"a":"sb.safetensors","b":"sa.safetensors"})");
  EXPECT_THAT(refusal(), HasSubstr("lacks the tensor"));
}

TEST_F(HfFolder, B17_a_tensor_in_two_shards) {
  make_shards(R"({"a":"sa.safetensors","b":"sb.safetensors"})");
  fs::copy_file((*this)("sa.safetensors"), (*this)("sb.safetensors"), fs::copy_options::overwrite_existing);
  EXPECT_THAT(refusal(), AllOf(HasSubstr("\"a\" is in two shards"), HasSubstr("sa.safetensors"), HasSubstr("sb.")));
}

TEST_F(HfFolder, B17_other_differences_from_the_index_are_noted) {
  make_shards(R"({"a":"sa.safetensors","b":"sb.safetensors"})", 9);
  EXPECT_THAT(notes(), Contains(AllOf(HasSubstr("total_size \"9\""), HasSubstr("8 bytes"))));
  make_shards(R"({"a":"sa.safetensors"})", 4);
  EXPECT_EQ(open()->tensors().size(), 1u) << "a shard that is not named is not opened";
  put("sa.safetensors", small_safetensors());
  EXPECT_THAT(notes(), Contains(HasSubstr("2 tensors that the index does not name")));
}

TEST_F(HfFolder, B17_a_bad_index) {
  fs::remove((*this)("model.safetensors"));
  for (const char* index : {"{}", "[]", "{\"weight_map\":[]}", "{\"weight_map\":\"x\"}"}) {
    put("model.safetensors.index.json", index);
    EXPECT_THAT(refusal(), HasSubstr("has no weight_map")) << index;
  }
  put("model.safetensors.index.json", "{\"weight_map\":{}}");
  EXPECT_THAT(refusal(), HasSubstr("names no shard"));
  put("model.safetensors.index.json", "{\"weight_map\":{\"a\":\"x.safetensors\",\"a\":\"y.safetensors\"}}");
  EXPECT_THAT(refusal(), HasSubstr("duplicate key"));
}

TEST_F(HfFolder, B18_a_cache_of_symbolic_links_opens) {
  fs::create_directories(folder_ / "cache/blobs");
  fs::create_directories(folder_ / "cache/snapshots/abc");
  for (const char* name : {"config.json", "model.safetensors"}) {
    const fs::path blob = fs::path("blobs") / fmt::format("hash-of-{}", name);
    fs::rename((*this)(name), folder_ / "cache" / blob);
    fs::create_symlink(fs::path("../..") / blob, folder_ / "cache/snapshots/abc" / name);
  }
  EXPECT_EQ(open_checkpoint(folder_ / "cache/snapshots/abc")->tensors().size(), 3u);
}

TEST_F(HfFolder, B19_what_is_no_regular_file_is_refused_without_waiting) {
  const fs::path weights = (*this)("model.safetensors");
  fs::remove(weights);
  ASSERT_EQ(mkfifo(weights.c_str(), 0600), 0);
  EXPECT_THAT(refusal(), AllOf(HasSubstr("not a regular file"), HasSubstr("pipe")));
  fs::remove(weights);
  fs::create_symlink("model.safetensors", weights);
  EXPECT_THAT(refusal(), HasSubstr("symbolic links"));
  fs::remove(weights);
  fs::create_symlink("gone", weights);
  EXPECT_THAT(refusal(), AllOf(HasSubstr("model.safetensors"), HasSubstr("No such file")));
  fs::remove(weights);
  fs::create_directory(weights);
  EXPECT_THAT(refusal(), AllOf(HasSubstr("not a regular file"), HasSubstr("folder")));
  fs::remove(weights);
  for (const char* target : {"/dev/zero", "/proc/self/mem"}) {
    fs::create_symlink(target, weights);
    EXPECT_THAT(refusal(), HasSubstr("not a")) << target;
    fs::remove(weights);
  }
  fs::remove((*this)("config.json"));
  fs::create_symlink("/dev/zero", (*this)("config.json"));
  EXPECT_THAT(refusal(), AllOf(HasSubstr("config.json"), HasSubstr("not a regular file")));
}

TEST_F(HfFolder, B20_one_file_wins_over_an_index_and_pickles_are_ignored) {
  put("model.safetensors.index.json", "not even JSON");
  put("pytorch_model.bin", "PK\3\4");
  EXPECT_THAT(notes(),
              ElementsAre(HasSubstr("index.json is ignored"), no_tokenizer, HasSubstr("pytorch_model.bin is ignored")));
}

TEST_F(HfFolder, B20_pickles_alone_are_refused_by_content) {
  fs::remove((*this)("model.safetensors"));
  EXPECT_THAT(refusal(), AllOf(HasSubstr("has no weights"), Not(HasSubstr("found instead"))));
  const auto names_the_command = AllOf(HasSubstr("found \"weights.dat\""), HasSubstr("`headscope import DIR OUT`"));
  put("weights.dat", "PK\3\4 a zip");
  EXPECT_THAT(refusal(), names_the_command);
  put("weights.dat", "\x80\x02}q");
  EXPECT_THAT(refusal(), names_the_command);
  put("weights.dat", "GGUF");
  EXPECT_THAT(refusal(), HasSubstr("GGUF"));
  put("weights.dat", "version https://git-lfs.github.com/spec/v1");
  EXPECT_THAT(refusal(), HasSubstr("git lfs pull"));
  put("weights.dat", small_safetensors());
  EXPECT_THAT(refusal(), HasSubstr("\"weights.dat\" is not a name that is looked for"));
}

TEST_F(HfFolder, B21_odd_folder_names_open_and_are_shown_escaped) {
  const std::vector<std::string> names{"not utf-8 \xFF\xFE",  "with spaces", "\xF0\x9F\x98\x80",
                                       std::string(255, 'n'), "%n%s",        "line\nbreak"};
  for (const std::string& name : names) {
    make_small_folder(folder_ / name);
    EXPECT_EQ(open_checkpoint(folder_ / name)->tensors().size(), 3u);
    fs::remove(folder_ / name / "config.json");
    const std::string message = error_of([&] { open_checkpoint(folder_ / name); });
    EXPECT_EQ(message.find_first_of("\n\xFF"), message.npos) << message;
  }
}

TEST_F(HfFolder, B23_other_files_are_not_looked_at) {
  for (int i = 0; i < 2000; ++i) put(fmt::format("f{}.bin", i).c_str(), "x");
  ASSERT_EQ(mkfifo((*this)("a-pipe").c_str(), 0600), 0);
  EXPECT_THAT(notes(), ElementsAre(no_tokenizer));
  fs::remove((*this)("model.safetensors"));
  EXPECT_THAT(refusal(), HasSubstr("has no weights"));
}

TEST_F(HfFolder, B23_a_sparse_terabyte_is_judged_by_its_size_first) {
  fs::resize_file((*this)("model.safetensors"), uint64_t{1} << 40);
  EXPECT_LT(largest_allocation([&] { open(); }), 1u << 20);
  EXPECT_THAT(refusal(), HasSubstr("not fully covered"));
}

TEST_F(HfFolder, tokenizer_files_are_found) {
  put("vocab.json", "{}");
  EXPECT_THAT(notes(), ElementsAre(HasSubstr("vocab.json is ignored without merges.txt"), no_tokenizer));
  put("merges.txt", "#version: 0.2");
  const auto checkpoint = open();
  EXPECT_EQ(checkpoint->tokenizer().merges_txt, "#version: 0.2");
  EXPECT_FALSE(checkpoint->tokenizer().empty());
  EXPECT_EQ(checkpoint->tokenizer().config_json, std::nullopt);
  put("tokenizer_config.json", "{}");
  EXPECT_EQ(open()->tokenizer().config_json, "{}");
  fs::remove((*this)("vocab.json"));
  EXPECT_THAT(notes(), Contains(HasSubstr("merges.txt is ignored without vocab.json")));
}

TEST_F(HfFolder, unpacking_needs_a_free_name_and_is_all_or_nothing) {
  const auto checkpoint = open();
  const auto refused = [&](const fs::path& to) { return error_of([&] { unpack_checkpoint(*checkpoint, to, {}); }); };
  EXPECT_THAT(refused(folder_ / "m"), HasSubstr("exists and is not an empty folder"));
  put_file(folder_ / "file", "x");
  EXPECT_THAT(refused(folder_ / "file"), HasSubstr("exists and is not an empty folder"));
  EXPECT_THAT(refused(folder_ / "none/out"), HasSubstr("No such file"));
  fs::create_directory(folder_ / "empty");
  fs::create_directory_symlink(folder_ / "empty", folder_ / "link");
  EXPECT_THAT(refused(folder_ / "link"), HasSubstr("exists and is not an empty folder"));
  unpack_checkpoint(*checkpoint, folder_ / "empty", {});
  EXPECT_EQ(open_checkpoint(folder_ / "empty")->tensors().size(), 3u);
  unpack_checkpoint(*checkpoint, (folder_ / "slash").native() + "/", {});
  EXPECT_EQ(open_checkpoint(folder_ / "slash")->tensors().size(), 3u);
  EXPECT_THAT(folder_.names(), ElementsAre("empty", "file", "link", "m", "slash"));
}

TEST_F(HfFolder, A20_a_failure_while_unpacking_leaves_nothing) {
  const auto checkpoint = open();
  fs::resize_file((*this)("model.safetensors"), small_safetensors().size() - 1);
  EXPECT_THAT(error_of([&] { unpack_checkpoint(*checkpoint, folder_ / "out", {}); }), HasSubstr("became shorter"));
  EXPECT_THAT(error_of([&] { pack_checkpoint(*checkpoint, folder_ / "out.h5", {}); }), HasSubstr("became shorter"));
  EXPECT_THAT(folder_.names(), ElementsAre("m"));
}

TEST(RealData, stories260K_opens_and_its_numbers_are_the_files) {
  const fs::path folder = fs::path(HEADSCOPE_REAL_DATA) / "stories260K";
  if (!fs::exists(folder)) GTEST_SKIP() << folder << " is absent";
  const auto checkpoint = open_checkpoint(folder);
  EXPECT_EQ(checkpoint->tensors().size(), 47u);
  const TensorInfo* embedding = checkpoint->find("model.embed_tokens.weight");
  ASSERT_NE(embedding, nullptr);
  EXPECT_EQ(embedding->shape, (std::vector<int64_t>{512, 64}));
  TempFolder temp;
  pack_checkpoint(*checkpoint, temp / "m.h5", {});
  const auto packed = open_checkpoint(temp / "m.h5");
  expect_same_checkpoint(*packed, *checkpoint);
}

}  // namespace
}  // namespace headscope::test
