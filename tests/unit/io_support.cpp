#include "tests/unit/io_support.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <new>

#include "core/base/error.h"

namespace {
thread_local size_t largest_block = 0;
}

// Replaced for this test program, to see what a bad file makes the reader ask for.
void* operator new(size_t size) {
  largest_block = std::max(largest_block, size);
  if (void* block = std::malloc(size ? size : 1)) return block;
  throw std::bad_alloc();
}
void* operator new(size_t size, const std::nothrow_t&) noexcept {
  largest_block = std::max(largest_block, size);
  return std::malloc(size ? size : 1);
}
void operator delete(void* block) noexcept { std::free(block); }
void operator delete(void* block, size_t) noexcept { std::free(block); }

namespace headscope::test {

namespace fs = std::filesystem;

TempFolder::TempFolder() {
  std::string pattern = (fs::temp_directory_path() / "headscope-test-XXXXXX").native();
  if (!mkdtemp(pattern.data())) throw std::runtime_error("no temporary folder");
  path_ = pattern;
}

TempFolder::~TempFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

std::vector<std::string> TempFolder::names() const {
  std::vector<std::string> all;
  for (const auto& entry : fs::directory_iterator(path_)) all.push_back(entry.path().filename());
  std::sort(all.begin(), all.end());
  return all;
}

void put_file(const fs::path& path, std::string_view content) {
  std::ofstream out(path, std::ios::binary);
  out.write(content.data(), static_cast<std::streamsize>(content.size()));
  ASSERT_TRUE(out.good()) << path;
}

std::string file_content(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in.good()) << path;
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

std::string error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  ADD_FAILURE() << "expected an Error";
  return "";
}

size_t largest_allocation(const std::function<void()>& action) {
  largest_block = 0;
  try {
    action();
  } catch (const Error&) {
    // what it asked for until then is what counts
  }
  return largest_block;
}

std::string outcome_in_child(const std::function<void()>& action) {
  constexpr int error_code = 42, other_code = 43;
  const pid_t child = fork();
  if (child == 0) {
    alarm(120);
    try {
      action();
    } catch (const Error&) {
      _exit(error_code);
    } catch (...) {
      _exit(other_code);
    }
    _exit(0);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) return "no child";
  if (WIFSIGNALED(status)) return fmt::format("signal {}", WTERMSIG(status));
  if (WEXITSTATUS(status) == 0) return "ok";
  return WEXITSTATUS(status) == error_code ? "error" : fmt::format("exit {}", WEXITSTATUS(status));
}

std::string safetensors_bytes(std::string_view header, std::string_view data) {
  const uint64_t length = header.size();
  std::string bytes(reinterpret_cast<const char*>(&length), sizeof length);
  return bytes.append(header).append(data);
}

std::string small_safetensors() {
  std::string data;
  for (int i = 0; i < 40; ++i) data += static_cast<char>(i * 7 + 1);
  return safetensors_bytes(R"({"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
                           R"("b":{"dtype":"F16","shape":[4],"data_offsets":[24,32]},)"
                           R"("c":{"dtype":"BF16","shape":[2,2],"data_offsets":[32,40]}})",
                           data);
}

void make_small_folder(const fs::path& folder) {
  fs::create_directories(folder);
  put_file(folder / "config.json", R"({"model_type":"gpt2","n_layer":1})");
  put_file(folder / "model.safetensors", small_safetensors());
}

std::vector<std::byte> raw_of(Checkpoint& checkpoint, std::string_view name) {
  const TensorInfo* info = checkpoint.find(name);
  if (!info) {
    ADD_FAILURE() << "no tensor " << name;
    return {};
  }
  std::vector<std::byte> bytes(info->bytes);
  checkpoint.read_raw(*info, bytes);
  return bytes;
}

void expect_same_checkpoint(Checkpoint& actual, Checkpoint& expected) {
  EXPECT_EQ(actual.config_text(), expected.config_text());
  EXPECT_EQ(actual.tokenizer().tokenizer_json, expected.tokenizer().tokenizer_json);
  EXPECT_EQ(actual.tokenizer().vocab_json, expected.tokenizer().vocab_json);
  EXPECT_EQ(actual.tokenizer().merges_txt, expected.tokenizer().merges_txt);
  EXPECT_EQ(actual.tokenizer().config_json, expected.tokenizer().config_json);
  ASSERT_EQ(actual.tensors().size(), expected.tensors().size());
  for (size_t i = 0; i < actual.tensors().size(); ++i) {
    const TensorInfo& a = actual.tensors()[i];
    const TensorInfo& e = expected.tensors()[i];
    EXPECT_EQ(a.name, e.name);
    EXPECT_EQ(a.dtype, e.dtype);
    EXPECT_EQ(a.dtype_text, e.dtype_text);
    EXPECT_EQ(a.shape, e.shape);
    EXPECT_EQ(a.bytes, e.bytes);
    EXPECT_EQ(raw_of(actual, a.name), raw_of(expected, e.name)) << a.name;
  }
}

}  // namespace headscope::test
