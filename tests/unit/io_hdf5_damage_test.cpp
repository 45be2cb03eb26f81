// Row D2: a damaged .h5 is an error or gives the right data. Each batch runs in a child process, so a crash inside
// libhdf5 is a failed test and not the end of the run. (Without open_h5_checkpoint's trial run, damage to the
// variable-length texts crashes or hangs libhdf5 1.10.8: signals 11 and 14 here.)
#include <sys/mman.h>

#include <filesystem>
#include <random>
#include <string>

#include "core/base/error.h"
#include "core/io/safetensors.h"
#include "tests/unit/io_support.h"

namespace headscope::test {
namespace {

namespace fs = std::filesystem;

/// What a child has reached, visible to its parent.
struct Shared {
  size_t position = 0;
  size_t correct = 0, errors = 0, wrong = 0;
};

class Hdf5Damage : public ::testing::Test {
 protected:
  Hdf5Damage() {
    make_small_folder(folder_ / "m");
    put_file(folder_ / "m/tokenizer.json", "{\"version\":\"1.0\"}");
    original_ = open_checkpoint(folder_ / "m");
    pack_checkpoint(*original_, folder_ / "m.h5", {});
    bytes_ = file_content(folder_ / "m.h5");
    void* memory = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    shared_ = new (memory) Shared;
  }
  ~Hdf5Damage() override { munmap(shared_, sizeof(Shared)); }

  bool is_correct() const {
    const auto damaged = open_checkpoint(folder_ / "m.h5");
    bool same = damaged->config_text() == original_->config_text() &&
                damaged->tokenizer().tokenizer_json == original_->tokenizer().tokenizer_json;
    same = same && damaged->tensors().size() == original_->tensors().size();
    for (size_t i = 0; same && i < damaged->tensors().size(); ++i) {
      const TensorInfo& tensor = damaged->tensors()[i];
      const TensorInfo& expected = original_->tensors()[i];
      // Names must be right once it is open, before any data is read.
      same = tensor.name == expected.name && tensor.shape == expected.shape && tensor.dtype == expected.dtype &&
             raw_of(*damaged, tensor.name) == raw_of(*original_, tensor.name);
    }
    return same;
  }

  void try_bytes(std::string_view bytes) const {
    put_file(folder_ / "m.h5", bytes);
    try {
      ++(is_correct() ? shared_->correct : shared_->wrong);
    } catch (const Error&) {
      ++shared_->errors;
    }
  }

  /// Calls `attempt` for every position in batches, each in its own process.
  template <class Attempt>
  void try_all(size_t count, Attempt attempt) {
    constexpr size_t batch = 64;
    for (size_t begin = 0; begin < count; begin += batch) {
      const std::string outcome = outcome_in_child([&] {
        for (shared_->position = begin; shared_->position < std::min(begin + batch, count); ++shared_->position) {
          attempt(shared_->position);
        }
      });
      ASSERT_EQ(outcome, "ok") << "at attempt " << shared_->position;
    }
    EXPECT_EQ(shared_->wrong, 0u) << "damage that went unnoticed";
    EXPECT_EQ(shared_->correct + shared_->errors, count);
  }

  TempFolder folder_;
  std::unique_ptr<Checkpoint> original_;
  std::string bytes_;
  Shared* shared_ = nullptr;
};

TEST_F(Hdf5Damage, undamaged_it_is_correct) { EXPECT_TRUE(is_correct()); }

TEST_F(Hdf5Damage, D2_cut_at_any_of_400_places_it_is_an_error) {
  const std::string whole = bytes_;
  try_all(400, [&](size_t i) { try_bytes(std::string_view(whole).substr(0, whole.size() * i / 400)); });
  EXPECT_EQ(shared_->errors, 400u);
}

TEST_F(Hdf5Damage, D2_one_byte_changed_is_an_error_or_the_right_data) {
  std::mt19937_64 random(20240501);
  std::vector<std::pair<size_t, char>> flips;
  for (int i = 0; i < 1000; ++i) flips.emplace_back(random() % bytes_.size(), static_cast<char>(1 + random() % 255));
  const std::string whole = bytes_;
  try_all(flips.size(), [&](size_t i) {
    std::string damaged = whole;
    damaged[flips[i].first] ^= flips[i].second;
    try_bytes(damaged);
  });
  EXPECT_GT(shared_->errors, 100u);
}

TEST(Hdf5DamageByHand, D2_a_changed_letter_in_a_name_a_config_or_a_tensor_is_noticed) {
  TempFolder folder;
  fs::create_directory(folder / "m");
  put_file(folder / "m/config.json", R"({"key":"config-text"})");
  put_file(folder / "m/tokenizer.json", R"({"key":"tokenizer-text"})");
  const std::string data = "tensor-data-here";
  put_file(folder / "m/model.safetensors",
           safetensors_bytes(R"({"name-of-tensor":{"dtype":"U8","shape":[16],"data_offsets":[0,16]}})", data));
  pack_checkpoint(*open_checkpoint(folder / "m"), folder / "m.h5", {});
  const std::string whole = file_content(folder / "m.h5");
  const auto refusal_after_changing = [&](std::string_view text) {
    const size_t place = whole.find(text);
    EXPECT_NE(place, whole.npos) << text;
    std::string damaged = whole;
    damaged[place] = 'X';
    put_file(folder / "m.h5", damaged);
    return error_of([&] { raw_of(*open_checkpoint(folder / "m.h5"), "name-of-tensor"); });
  };
  using ::testing::AllOf;
  using ::testing::HasSubstr;
  EXPECT_THAT(refusal_after_changing("name-of-tensor"),
              AllOf(HasSubstr("\"/tensors\" is damaged"), HasSubstr("CRC-32")));
  EXPECT_THAT(refusal_after_changing("config-text"), HasSubstr("\"/config\" is damaged"));
  EXPECT_THAT(refusal_after_changing("tokenizer-text"), HasSubstr("\"/tokenizer\" is damaged"));
  EXPECT_THAT(refusal_after_changing(data), HasSubstr("\"/tensors/000000\" is damaged"));
}

}  // namespace
}  // namespace headscope::test
