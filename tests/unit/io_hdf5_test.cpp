// The HDF5 writer, and rows D1 to D9 of bad .h5 files, one test per row.
#include "core/io/hdf5.h"

#include <fcntl.h>
#include <hdf5.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <numeric>
#include <string>

#include "core/base/error.h"
#include "core/base/text.h"
#include "tests/unit/io_support.h"

namespace {
int flock_errno = 0;  // when not 0, what the next locks fail with
}

// Found by libhdf5 before the C library's, to play a file system that has no locks.
extern "C" int flock(int descriptor, int operation) {
  if (flock_errno == 0) return static_cast<int>(syscall(SYS_flock, descriptor, operation));
  errno = flock_errno;
  return -1;
}

namespace headscope::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

constexpr hid_t by_default = H5P_DEFAULT;

/// A file made with the C library itself, as another program would; everything is closed at the end.
class ForeignFile {
 public:
  explicit ForeignFile(const fs::path& path, bool latest = false) {
    const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_fclose_degree(access, H5F_CLOSE_STRONG);
    if (latest) H5Pset_libver_bounds(access, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST);
    file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, by_default, access);
    H5Pclose(access);
  }
  /// Opens an existing one to change it.
  ForeignFile(const fs::path& path, std::nullptr_t) : file(H5Fopen(path.c_str(), H5F_ACC_RDWR, by_default)) {}
  ~ForeignFile() { H5Fclose(file); }
  ForeignFile(const ForeignFile&) = delete;
  ForeignFile& operator=(const ForeignFile&) = delete;

  void text(const char* object, const char* name, const std::string& value) const {
    const hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, value.size() + 1);
    put_attribute(object, name, type, H5Screate(H5S_SCALAR), value.c_str());
    H5Tclose(type);
  }
  void number(const char* object, const char* name, int64_t value) const {
    put_attribute(object, name, H5T_NATIVE_INT64, H5Screate(H5S_SCALAR), &value);
  }
  void numbers(const char* object, const char* name, const std::vector<int64_t>& values) const {
    const hsize_t size = values.size();
    put_attribute(object, name, H5T_NATIVE_INT64, H5Screate_simple(1, &size, nullptr), values.data());
  }
  void group(const char* path) const { H5Gclose(H5Gcreate2(file, path, by_default, by_default, by_default)); }
  /// Creates a dataset; takes `creation` over, and writes `data` if there is any.
  void dataset(const char* path, hid_t type, const std::vector<hsize_t>& shape, hid_t creation = by_default,
               const void* data = nullptr, hid_t memory_type = -1) const {
    const hid_t space = H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr);
    const hid_t set = H5Dcreate2(file, path, type, space, by_default, creation, by_default);
    ASSERT_GE(set, 0) << path;
    if (data) H5Dwrite(set, memory_type < 0 ? type : memory_type, H5S_ALL, H5S_ALL, by_default, data);
    H5Dclose(set);
    H5Sclose(space);
    if (creation != by_default) H5Pclose(creation);
  }

  hid_t file;

 private:
  void put_attribute(const char* object, const char* name, hid_t type, hid_t space, const void* value) const {
    const hid_t owner = H5Oopen(file, object, by_default);
    const hid_t attribute = H5Acreate2(owner, name, type, space, by_default, by_default);
    H5Awrite(attribute, type, value);
    H5Aclose(attribute);
    H5Sclose(space);
    H5Oclose(owner);
  }
};

class Hdf5 : public ::testing::Test {
 protected:
  Hdf5() { H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr); }

  fs::path file() const { return folder_ / "m.h5"; }
  std::string refusal() const {
    const std::string message = error_of([&] { open_checkpoint(file()); });
    EXPECT_THAT(message, HasSubstr("m.h5\"")) << "names the file";
    return message;
  }
  std::string dataset_refusal(const char* path) const {
    return error_of([&] { Hdf5Reader(file()).dataset(path); });
  }
  /// The beginning of a good checkpoint; tensors are added by the test.
  static void begin_checkpoint(const ForeignFile& to) {
    to.text("/", "format", "headscope");
    to.number("/", "format_version", 1);
    const char config[] = "{}";
    to.dataset("/config", H5T_STD_U8LE, {2}, by_default, config);
    to.group("/tensors");
  }
  static void add_tensor(const ForeignFile& to, hid_t type, const char* dtype, const std::vector<hsize_t>& shape,
                         const void* data) {
    to.dataset("/tensors/000000", type, shape, by_default, data);
    to.text("/tensors/000000", "name", "w");
    to.text("/tensors/000000", "dtype", dtype);
  }

  TempFolder folder_;
};

hid_t creation() { return H5Pcreate(H5P_DATASET_CREATE); }
hid_t chunked(const std::vector<hsize_t>& chunk) {
  const hid_t list = creation();
  H5Pset_chunk(list, static_cast<int>(chunk.size()), chunk.data());
  return list;
}

template <class T>
std::vector<T> read_all(const Hdf5DatasetReader& dataset) {
  std::vector<T> values(dataset.bytes() / sizeof(T));
  dataset.read_rows(0, dataset.rows(), std::as_writable_bytes(std::span(values)));
  return values;
}

// ---- writing

TEST_F(Hdf5, what_is_written_is_read_back) {
  {
    Hdf5Writer writer(file());
    writer.attribute("/", "model", "a \"name\" é");
    writer.attribute("/", "count", int64_t{-5});
    writer.attribute("/", "scale", 0.125);
    writer.attribute("/", "list", std::vector<int64_t>{3, -4});
    writer.attribute("/", "empty", std::vector<int64_t>{});
    writer.attribute("/", "words", std::vector<std::string>{"a", "", "é"});
    writer.dataset("/x/y/floats", std::vector<float>{1.5f, -0.0f, 3e38f});
    writer.dataset("/x/i64", std::vector<int64_t>{INT64_MIN, 7});
    writer.dataset("/x/i32", std::vector<int32_t>{-1});
    writer.dataset("/x/u64", std::vector<uint64_t>{UINT64_MAX});
    writer.dataset("/x/u16", std::vector<uint16_t>{65535});
    writer.dataset("/x/u8", std::vector<uint8_t>{});
    writer.texts("/tokens/text", std::vector<std::string>{"Zoo", "<0xE2>", std::string("a\0b", 3), ""});
    writer.texts("/tokens/none", {});
    writer.group("/just/a/group");
    writer.attribute("/just/a/group", "unit", "nats");
    writer.finish();
  }
  const Hdf5Reader reader(file());
  EXPECT_EQ(reader.text_attribute("/", "model"), "a \"name\" é");
  EXPECT_EQ(reader.int_attribute("/", "count"), -5);
  EXPECT_EQ(reader.ints_attribute("/", "list"), (std::vector<int64_t>{3, -4}));
  EXPECT_EQ(reader.ints_attribute("/", "empty"), std::vector<int64_t>{});
  EXPECT_EQ(read_all<float>(reader.dataset("/x/y/floats")), (std::vector<float>{1.5f, -0.0f, 3e38f}));
  EXPECT_EQ(read_all<int64_t>(reader.dataset("/x/i64")), (std::vector<int64_t>{INT64_MIN, 7}));
  EXPECT_EQ(read_all<uint64_t>(reader.dataset("/x/u64")), std::vector<uint64_t>{UINT64_MAX});
  EXPECT_EQ(reader.dataset("/x/i32").dtype(), DType::i32);
  EXPECT_EQ(reader.dataset("/x/u16").dtype(), DType::u16);
  EXPECT_EQ(reader.dataset("/x/u8").bytes(), 0u);
  EXPECT_EQ(reader.text_attribute("/just/a/group", "unit"), "nats");
  EXPECT_THAT(reader.names("/x"), ElementsAre("i32", "i64", "u16", "u64", "u8", "y"));
  EXPECT_TRUE(reader.has("/x/y/floats"));
  EXPECT_FALSE(reader.has("/x/z/floats"));
  EXPECT_FALSE(reader.has("/none"));
  EXPECT_THAT(folder_.names(), ElementsAre("m.h5"));
}

TEST_F(Hdf5, slabs_and_rows_land_where_they_belong_and_the_rest_is_zero) {
  const std::vector<uint64_t> shape{2, 3, 4};
  std::vector<float> expected(24, 0.0f), row(12), box(4);
  std::iota(row.begin(), row.end(), 100.0f);
  std::iota(box.begin(), box.end(), 1.0f);
  std::copy(row.begin(), row.end(), expected.begin() + 12);
  expected[4 * 1 + 2] = 1, expected[4 * 1 + 3] = 2, expected[4 * 2 + 2] = 3, expected[4 * 2 + 3] = 4;
  {
    Hdf5Writer writer(file());
    Hdf5DatasetWriter map = writer.create("/attention/layer_000", DType::f32, shape);
    map.write_rows(1, 1, std::span<const float>(row));
    map.write_slab(std::vector<uint64_t>{0, 1, 2}, std::vector<uint64_t>{1, 2, 2}, box);
    const auto wrong = [&](uint64_t begin, uint64_t count, size_t size) {
      return error_of([&] { map.write_rows(begin, count, std::span<const float>(std::vector<float>(size))); });
    };
    EXPECT_THAT(wrong(0, 1, 11), AllOf(HasSubstr("44 bytes given, expected 48"), HasSubstr("layer_000")));
    EXPECT_THAT(wrong(1, 2, 24), HasSubstr("outside its size 2"));
    EXPECT_THAT(wrong(UINT64_MAX, 2, 24), HasSubstr("outside its size 2"));
    EXPECT_THAT(error_of([&] { map.write_slab(std::vector<uint64_t>{0}, std::vector<uint64_t>{1}, box); }),
                HasSubstr("1 dimensions, expected 3"));
    writer.finish();
  }
  const Hdf5Reader reader(file());
  EXPECT_EQ(read_all<float>(reader.dataset("/attention/layer_000")), expected);
  std::vector<float> second(12);
  reader.dataset("/attention/layer_000").read_rows(1, 1, std::as_writable_bytes(std::span(second)));
  EXPECT_EQ(second, row);
  EXPECT_THAT(error_of([&] {
                reader.dataset("/attention/layer_000").read_rows(1, 2, std::as_writable_bytes(std::span(second)));
              }),
              HasSubstr("do not fit"));
}

TEST_F(Hdf5, scalars_have_no_dimensions) {
  {
    Hdf5Writer writer(file());
    const float value = 2.5f;
    writer.dataset("/scalar", std::span(&value, 1), {});
    writer.finish();
  }
  const Hdf5Reader reader(file());
  EXPECT_TRUE(reader.dataset("/scalar").shape().empty());
  EXPECT_EQ(read_all<float>(reader.dataset("/scalar")), std::vector<float>{2.5f});
}

TEST_F(Hdf5, nothing_is_written_twice_or_to_what_does_not_exist) {
  Hdf5Writer writer(file());
  writer.dataset("/a", std::vector<float>{1});
  EXPECT_THAT(error_of([&] { writer.dataset("/a", std::vector<float>{1}); }), HasSubstr("/a"));
  EXPECT_THAT(error_of([&] { writer.attribute("/none", "x", int64_t{1}); }), HasSubstr("/none"));
  EXPECT_THAT(error_of([&] { writer.dataset("/a/b", std::vector<float>{1}); }), HasSubstr("/a/b"));
}

TEST_F(Hdf5, an_unfinished_file_leaves_the_old_one) {
  put_file(file(), "old");
  {
    Hdf5Writer writer(file());
    Hdf5DatasetWriter still_open = writer.create("/a", DType::f32, std::vector<uint64_t>{1000});
    still_open.write_rows(0, 1000, std::span<const float>(std::vector<float>(1000)));
  }
  EXPECT_EQ(file_content(file()), "old");
  EXPECT_THAT(folder_.names(), ElementsAre("m.h5"));
}

TEST_F(Hdf5, E1_a_full_disk_is_an_error_that_leaves_the_old_file) {
  put_file(file(), "old");
  for (const rlim_t limit : {100u, 3000u, 100'000u, 4'000'500u}) {
    const auto write_limited = [&] {
      signal(SIGXFSZ, SIG_IGN);
      const rlimit size{limit, limit};
      setrlimit(RLIMIT_FSIZE, &size);
      Hdf5Writer writer(file());
      writer.dataset("/a", std::vector<float>(1'000'000));
      writer.finish();
    };
    EXPECT_EQ(outcome_in_child(write_limited), "error") << limit;
    EXPECT_EQ(file_content(file()), "old");
    EXPECT_THAT(folder_.names(), ElementsAre("m.h5"));
  }
}

TEST_F(Hdf5, E4_a_checkpoint_may_be_packed_over_itself) {
  make_small_folder(folder_ / "m");
  pack_checkpoint(*open_checkpoint(folder_ / "m"), file(), {});
  const auto open = open_checkpoint(file());
  pack_checkpoint(*open, file(), {});
  expect_same_checkpoint(*open_checkpoint(file()), *open_checkpoint(folder_ / "m"));
}

// ---- bad files

TEST_F(Hdf5, a_checkpoint_made_by_another_program_opens) {
  {
    const ForeignFile to(file());
    begin_checkpoint(to);
    const float values[] = {1.5f, -2.0f};
    add_tensor(to, H5T_IEEE_F32LE, "F32", {2}, values);
  }
  const auto checkpoint = open_checkpoint(file());
  std::vector<float> out(2);
  checkpoint->read_f32(*checkpoint->find("w"), out);
  EXPECT_THAT(out, ElementsAre(1.5f, -2.0f));
  EXPECT_EQ(checkpoint->format(), "h5");
}

TEST_F(Hdf5, D1_not_hdf5) {
  put_file(file(), "\x89HDF\r\n\x1a\nand then nothing of the kind");
  EXPECT_THAT(refusal(), HasSubstr("cannot open"));
  put_file(file(), "hello");
  EXPECT_THAT(refusal(), HasSubstr("is not a model"));
}

TEST_F(Hdf5, D1_of_another_program_or_version) {
  { const ForeignFile to(file()); }
  EXPECT_THAT(refusal(), AllOf(HasSubstr("not a HeadScope checkpoint"), HasSubstr("format = 'headscope' is missing")));
  {
    Hdf5Writer run(file());
    run.dataset("/tokens/ids", std::vector<int64_t>{1});
    run.finish();
  }
  EXPECT_THAT(refusal(), HasSubstr("output of `headscope run`"));
  {
    const ForeignFile to(file());
    to.text("/", "format", "keras");
  }
  EXPECT_THAT(refusal(), AllOf(HasSubstr("\"keras\""), HasSubstr("expected \"headscope\"")));
  {
    const ForeignFile to(file());
    to.text("/", "format", "headscope");
  }
  EXPECT_THAT(refusal(), HasSubstr("no attribute format_version"));
  {
    const ForeignFile to(file());
    to.text("/", "format", "headscope");
    to.number("/", "format_version", 2);
  }
  EXPECT_THAT(refusal(), AllOf(HasSubstr("version 2"), HasSubstr("supports version 1"), HasSubstr("newer HeadScope")));
  {
    const ForeignFile to(file());
    to.text("/", "format", "headscope");
    to.number("/", "format_version", 1);
  }
  EXPECT_THAT(refusal(), HasSubstr("/config"));
}

TEST_F(Hdf5, D3_external_storage) {
  put_file(folder_ / "secret", "the bytes of another file");
  {
    const ForeignFile to(file());
    begin_checkpoint(to);
    const hid_t list = creation();
    H5Pset_external(list, (folder_ / "secret").c_str(), 0, 8);
    to.dataset("/tensors/000000", H5T_IEEE_F32LE, {2}, list);
    to.text("/tensors/000000", "name", "w");
    to.text("/tensors/000000", "dtype", "F32");
  }
  EXPECT_THAT(refusal(), AllOf(HasSubstr("refers to another file"), HasSubstr("/tensors/000000")));
}

TEST_F(Hdf5, D3_external_link) {
  {
    const ForeignFile other(folder_ / "other.h5");
    const float values[] = {1, 2};
    other.dataset("/w", H5T_IEEE_F32LE, {2}, by_default, values);
    other.group("/tensors");
  }
  {
    const ForeignFile to(file());
    begin_checkpoint(to);
    H5Lcreate_external("other.h5", "/w", to.file, "/tensors/000000", by_default, by_default);
  }
  EXPECT_THAT(refusal(), AllOf(HasSubstr("refers to another file"), HasSubstr("/tensors/000000")));
  {
    const ForeignFile to(file(), nullptr);
    H5Ldelete(to.file, "/tensors", by_default);
    H5Lcreate_external("other.h5", "/tensors", to.file, "/tensors", by_default, by_default);
  }
  EXPECT_THAT(refusal(), AllOf(HasSubstr("refers to another file"), HasSubstr("\"/tensors\"")));
  EXPECT_THAT(error_of([&] { Hdf5Reader(file()).has("/tensors/x"); }), HasSubstr("refers to another file"));
}

TEST_F(Hdf5, D3_virtual_dataset) {
  {
    const ForeignFile other(folder_ / "other.h5");
    const float values[] = {1, 2};
    other.dataset("/w", H5T_IEEE_F32LE, {2}, by_default, values);
  }
  {
    const ForeignFile to(file(), true);
    begin_checkpoint(to);
    const hsize_t size = 2;
    const hid_t space = H5Screate_simple(1, &size, nullptr), list = creation();
    H5Pset_virtual(list, space, "other.h5", "/w", space);
    to.dataset("/tensors/000000", H5T_IEEE_F32LE, {2}, list);
    H5Sclose(space);
  }
  EXPECT_THAT(refusal(), AllOf(HasSubstr("refers to another file"), HasSubstr("virtual")));
}

TEST_F(Hdf5, D4_cycles_and_soft_links) {
  {
    const ForeignFile to(file());
    begin_checkpoint(to);
    H5Lcreate_hard(to.file, "/", to.file, "/tensors/000000", by_default, by_default);
  }
  EXPECT_THAT(refusal(), HasSubstr("\"/tensors/000000\" is not a dataset"));
  {
    const ForeignFile to(file(), nullptr);
    H5Ldelete(to.file, "/tensors/000000", by_default);
    H5Lcreate_soft("/tensors/000000", to.file, "/tensors/000000", by_default, by_default);
  }
  EXPECT_THAT(refusal(), HasSubstr("is a soft link"));
  {
    const ForeignFile to(file(), nullptr);
    H5Ldelete(to.file, "/tensors", by_default);
    H5Lcreate_hard(to.file, "/config", to.file, "/tensors", by_default, by_default);
  }
  EXPECT_THAT(refusal(), HasSubstr("\"/tensors\" is not a group"));
}

TEST_F(Hdf5, D4_too_many_members) {
  {
    const ForeignFile to(file(), true);
    to.group("/g");
    for (int i = 0; i < 11; ++i) to.group(fmt::format("/g/{}", i).c_str());
  }
  EXPECT_THAT(error_of([&] { Hdf5Reader(file()).names("/g", 10); }),
              AllOf(HasSubstr("11 members"), HasSubstr("at most 10")));
  EXPECT_EQ(Hdf5Reader(file()).names("/g", 11).size(), 11u);
}

TEST_F(Hdf5, D4_depth_10000_ends) {
  {
    const ForeignFile to(file(), true);
    begin_checkpoint(to);
    hid_t at = H5Gopen2(to.file, "/tensors", by_default);
    for (int i = 0; i < 10'000; ++i) {
      const hid_t next = H5Gcreate2(at, "000000", by_default, by_default, by_default);
      H5Gclose(at);
      at = next;
    }
    H5Gclose(at);
  }
  EXPECT_THAT(refusal(), HasSubstr("is not a dataset"));
}

TEST_F(Hdf5, D5_a_sparse_dataset_is_refused_by_what_is_stored) {
  {
    const ForeignFile to(file());
    to.dataset("/contiguous", H5T_IEEE_F32LE, {1ull << 20, 1ull << 20});
    to.dataset("/chunked", H5T_IEEE_F32LE, {1ull << 20, 1ull << 20}, chunked({1024, 1024}));
    to.dataset("/overflow", H5T_IEEE_F32LE, {1ull << 31, 1ull << 31, 1ull << 31}, chunked({1, 1, 1}));
  }
  EXPECT_THAT(dataset_refusal("/contiguous"), AllOf(HasSubstr("4.00 TiB"), HasSubstr("0 B are stored")));
  EXPECT_THAT(dataset_refusal("/chunked"), AllOf(HasSubstr("4.00 TiB"), HasSubstr("0 B are stored")));
  EXPECT_THAT(dataset_refusal("/overflow"), HasSubstr("overflow"));
}

TEST_F(Hdf5, D5_chunks_are_bounded) {
  {
    const ForeignFile to(file());
    const std::vector<float> one(1);
    to.dataset("/large", H5T_IEEE_F32LE, {1ull << 30}, chunked({(1u << 24) + 1}));
    const hid_t deflated = chunked({(1u << 18) + 1});
    H5Pset_deflate(deflated, 1);
    const std::vector<float> zeros((1u << 18) + 1);
    to.dataset("/deflated", H5T_IEEE_F32LE, {zeros.size()}, deflated, zeros.data());
    const hid_t crumbs = chunked({1});
    H5Pset_shuffle(crumbs);
    const std::vector<uint8_t> many((1u << 20) + 1);
    to.dataset("/crumbs", H5T_STD_U8LE, {many.size()}, crumbs);
  }
  EXPECT_THAT(dataset_refusal("/large"), HasSubstr("chunks of more than 64.0 MiB"));
  EXPECT_THAT(dataset_refusal("/deflated"), HasSubstr("chunks of more than 1.00 MiB"));
  EXPECT_NE(dataset_refusal("/crumbs"), "");
}

TEST_F(Hdf5, D5_rank_is_bounded) {
  {
    const ForeignFile to(file());
    to.dataset("/deep", H5T_IEEE_F32LE, std::vector<hsize_t>(32, 1));
  }
  EXPECT_THAT(dataset_refusal("/deep"), AllOf(HasSubstr("32 dimensions"), HasSubstr("at most 8")));
}

TEST_F(Hdf5, D5_allowed_filters_are_read) {
  std::vector<float> values(10'000);
  std::iota(values.begin(), values.end(), 0.0f);
  {
    const ForeignFile to(file());
    const hid_t list = chunked({300});
    H5Pset_shuffle(list);
    H5Pset_deflate(list, 4);
    H5Pset_fletcher32(list);
    to.dataset("/w", H5T_IEEE_F32LE, {values.size()}, list, values.data());
  }
  EXPECT_EQ(read_all<float>(Hdf5Reader(file()).dataset("/w")), values);
}

TEST_F(Hdf5, D5_a_chunk_that_is_stored_larger_than_it_is_gets_refused) {
  {
    const ForeignFile to(file());
    const hid_t list = chunked({1000});
    H5Pset_deflate(list, 1);
    to.dataset("/bomb", H5T_STD_U8LE, {1000}, list);
    const hid_t set = H5Dopen2(to.file, "/bomb", by_default);
    const std::string stored(100'000, 'x');
    const hsize_t corner = 0;
    ASSERT_GE(H5Dwrite_chunk(set, by_default, 0, &corner, stored.size(), stored.data()), 0);
    H5Dclose(set);
  }
  EXPECT_THAT(dataset_refusal("/bomb"), HasSubstr("is stored as 97.7 KiB"));
}

TEST_F(Hdf5, D6_other_filters_are_refused_and_no_plugin_is_loaded) {
  {
    const ForeignFile to(file());
    const hid_t list = chunked({4});
    H5Pset_filter(list, 32001, H5Z_FLAG_OPTIONAL, 0, nullptr);
    to.dataset("/foreign", H5T_IEEE_F32LE, {4}, list);
    const hid_t n_bit = chunked({4});
    H5Pset_nbit(n_bit);
    to.dataset("/nbit", H5T_STD_I32LE, {4}, n_bit);
  }
  EXPECT_THAT(dataset_refusal("/foreign"), AllOf(HasSubstr("filter 32001"), HasSubstr("not allowed")));
  EXPECT_THAT(dataset_refusal("/nbit"), HasSubstr("not allowed"));
  unsigned plugins = 1;
  H5PLget_loading_state(&plugins);
  EXPECT_EQ(plugins, 0u);
}

TEST_F(Hdf5, D7_only_plain_numbers) {
  {
    const ForeignFile to(file());
    const hid_t compound = H5Tcreate(H5T_COMPOUND, 8), text = H5Tcopy(H5T_C_S1), list = H5Tvlen_create(H5T_IEEE_F32LE);
    H5Tinsert(compound, "x", 0, H5T_IEEE_F32LE);
    const hid_t odd = H5Tcopy(H5T_STD_I32LE);
    H5Tset_precision(odd, 17);
    to.dataset("/compound", compound, {2});
    to.dataset("/text", text, {2});
    to.dataset("/vlen", list, {2});
    to.dataset("/odd", odd, {2});
    to.dataset("/time", H5T_STD_B32LE, {2});
    for (const hid_t type : {compound, text, list, odd}) H5Tclose(type);
    const hid_t null = H5Screate(H5S_NULL);
    H5Dclose(H5Dcreate2(to.file, "/null", H5T_IEEE_F32LE, null, by_default, by_default, by_default));
    H5Sclose(null);
  }
  EXPECT_THAT(dataset_refusal("/compound"), AllOf(HasSubstr("compound"), HasSubstr("expected plain")));
  EXPECT_THAT(dataset_refusal("/text"), HasSubstr("string"));
  EXPECT_THAT(dataset_refusal("/vlen"), HasSubstr("variable-length"));
  EXPECT_THAT(dataset_refusal("/odd"), HasSubstr("unsupported element type (integer of 4 bytes)"));
  EXPECT_THAT(dataset_refusal("/time"), HasSubstr("bit field"));
  EXPECT_THAT(dataset_refusal("/null"), HasSubstr("null"));
}

TEST_F(Hdf5, D7_big_endian_is_converted) {
  {
    const ForeignFile to(file());
    begin_checkpoint(to);
    const float values[] = {1.5f, -2.0f};
    to.dataset("/tensors/000000", H5T_IEEE_F32BE, {2}, by_default, values, H5T_NATIVE_FLOAT);
    to.text("/tensors/000000", "name", "w");
    to.text("/tensors/000000", "dtype", "F32");
  }
  const auto checkpoint = open_checkpoint(file());
  std::vector<float> out(2);
  checkpoint->read_f32(*checkpoint->find("w"), out);
  EXPECT_THAT(out, ElementsAre(1.5f, -2.0f));
}

TEST_F(Hdf5, D7_D8_dataset_and_attributes_must_agree) {
  const auto with_tensor = [&](hid_t type, const char* dtype) {
    {
      const ForeignFile to(file());
      begin_checkpoint(to);
      const std::vector<int64_t> values(2);
      add_tensor(to, type, dtype, {2}, values.data());
    }
    return refusal();
  };
  EXPECT_THAT(with_tensor(H5T_STD_I32LE, "F32"),
              AllOf(HasSubstr("\"w\""), HasSubstr("stored as F32 [2]"), HasSubstr("is I32 [2]")));
  EXPECT_THAT(with_tensor(H5T_IEEE_F32LE, "BF16"), HasSubstr("BF16 must be stored as U16"));
  EXPECT_THAT(with_tensor(H5T_IEEE_F32LE, "F33"), HasSubstr("unknown dtype \"F33\""));
  EXPECT_THAT(with_tensor(H5T_STD_U8LE, "C64"), HasSubstr("no attribute \"shape\""));
}

TEST_F(Hdf5, D8_missing_or_wrong_attributes) {
  const auto with_attributes = [&](auto add) {
    {
      const ForeignFile to(file());
      begin_checkpoint(to);
      const float values[] = {1, 2};
      to.dataset("/tensors/000000", H5T_IEEE_F32LE, {2}, by_default, values);
      add(to);
    }
    return refusal();
  };
  constexpr const char* w = "/tensors/000000";
  EXPECT_THAT(with_attributes([](const ForeignFile&) {}), AllOf(HasSubstr(w), HasSubstr("no attribute \"name\"")));
  EXPECT_THAT(with_attributes([](const ForeignFile& to) { to.number(w, "name", 1); }), HasSubstr("not a single text"));
  EXPECT_THAT(with_attributes([](const ForeignFile& to) { to.text(w, "name", "a\xFF"); }), HasSubstr("not UTF-8"));
  EXPECT_THAT(with_attributes([](const ForeignFile& to) {
                to.text(w, "name", "w");
                to.text(w, "dtype", std::string(100, 'F'));
              }),
              HasSubstr("at most 64 B"));
  {
    const ForeignFile to(file());
    to.text("/", "format", "headscope");
    to.numbers("/", "format_version", {1, 1});
  }
  EXPECT_THAT(refusal(), HasSubstr("not a single integer"));
  {
    const ForeignFile to(file());
    to.numbers("/", "format", {1});
  }
  EXPECT_THAT(refusal(), HasSubstr("not a single text"));
}

TEST_F(Hdf5, D8_two_tensors_of_one_name) {
  {
    const ForeignFile to(file());
    begin_checkpoint(to);
    const float values[] = {1, 2};
    add_tensor(to, H5T_IEEE_F32LE, "F32", {2}, values);
    H5Lcreate_hard(to.file, "/tensors/000000", to.file, "/tensors/000001", by_default, by_default);
  }
  EXPECT_THAT(refusal(), HasSubstr("two tensors named \"w\""));
}

TEST_F(Hdf5, D8_config_must_be_bytes_of_json) {
  const auto with_config = [&](hid_t type, const std::vector<hsize_t>& shape, std::string_view bytes) {
    {
      const ForeignFile to(file());
      to.text("/", "format", "headscope");
      to.number("/", "format_version", 1);
      to.dataset("/config", type, shape, by_default, bytes.data());
      to.group("/tensors");
    }
    return refusal();
  };
  EXPECT_THAT(with_config(H5T_STD_U8LE, {2}, "[]"), AllOf(HasSubstr("/config"), HasSubstr("must hold a JSON object")));
  EXPECT_THAT(with_config(H5T_STD_U8LE, {2}, "{!"), AllOf(HasSubstr("/config"), HasSubstr("not valid JSON")));
  EXPECT_THAT(with_config(H5T_STD_I8LE, {2}, "{}"), HasSubstr("must be a list of u8; found I8 [2]"));
  EXPECT_THAT(with_config(H5T_STD_U8LE, {1, 2}, "{}"), HasSubstr("found U8 [1, 2]"));
  const std::string large((16u << 20) + 1, ' ');
  EXPECT_THAT(with_config(H5T_STD_U8LE, {large.size()}, large), AllOf(HasSubstr("too large"), HasSubstr("16.0 MiB")));
}

TEST_F(Hdf5, D9_a_file_that_was_never_closed_is_told_in_plain_words) {
  const auto die_while_writing = [&] {
    const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_libver_bounds(access, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST);
    const hid_t open = H5Fcreate(file().c_str(), H5F_ACC_TRUNC, by_default, access);
    H5Gclose(H5Gcreate2(open, "/g", by_default, by_default, by_default));
    H5Fflush(open, H5F_SCOPE_GLOBAL);
    _exit(0);
  };
  ASSERT_EQ(outcome_in_child(die_while_writing), "ok");
  EXPECT_THAT(refusal(), HasSubstr("stopped before closing it"));
}

TEST_F(Hdf5, D9_a_file_locked_by_another_program_is_told_in_plain_words) {
  { const ForeignFile to(file()); }
  const int other = open(file().c_str(), O_RDWR);
  ASSERT_EQ(flock(other, LOCK_EX | LOCK_NB), 0);
  EXPECT_THAT(refusal(), HasSubstr("another program has it open"));
  close(other);
}

TEST_F(Hdf5, D10_a_file_system_without_locks_is_no_hindrance) {
  make_small_folder(folder_ / "m");
  for (const int error_number : {524, ENOSYS, ENOTSUP}) {
    flock_errno = error_number;
    pack_checkpoint(*open_checkpoint(folder_ / "m"), file(), {});
    EXPECT_EQ(open_checkpoint(file())->tensors().size(), 3u) << error_number;
    flock_errno = 0;
  }
  flock_errno = EAGAIN;
  EXPECT_THAT(refusal(), HasSubstr("another program has it open"));
  flock_errno = 0;
}

TEST_F(Hdf5, A20_a_file_shortened_after_opening_is_an_error_even_without_a_crc) {
  {
    const ForeignFile to(file());
    begin_checkpoint(to);
    const std::vector<float> values(10'000, 1.0f);
    add_tensor(to, H5T_IEEE_F32LE, "F32", {values.size()}, values.data());
  }
  const auto checkpoint = open_checkpoint(file());
  fs::resize_file(file(), fs::file_size(file()) / 2);
  std::vector<float> out(10'000);
  EXPECT_THAT(error_of([&] { checkpoint->read_f32(*checkpoint->find("w"), out); }), HasSubstr("m.h5"));
}

}  // namespace
}  // namespace headscope::test
