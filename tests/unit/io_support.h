#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/io/checkpoint.h"

namespace headscope::test {

/// A folder of its own for one test, removed with all it holds.
class TempFolder {
 public:
  TempFolder();
  ~TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  std::filesystem::path operator/(const std::filesystem::path& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }
  /// Names of what is in it, sorted.
  std::vector<std::string> names() const;

 private:
  std::filesystem::path path_;
};

void put_file(const std::filesystem::path& path, std::string_view content);
std::string file_content(const std::filesystem::path& path);

/// The message of the Error that `action` throws; fails the test and gives "" if it throws none.
std::string error_of(const std::function<void()>& action);

/// The largest single block that `action` asks the heap for. `action` may throw Error.
size_t largest_allocation(const std::function<void()>& action);

/// How `action` ends in a process of its own: "ok", "error" (it threw Error), or what killed it. Two minutes.
std::string outcome_in_child(const std::function<void()>& action);

/// 8 bytes of length, the header, the data.
std::string safetensors_bytes(std::string_view header, std::string_view data);

/// A valid file: "a" F32 [2, 3], "b" F16 [4], "c" BF16 [2, 2], 40 bytes of data.
std::string small_safetensors();

/// A folder with config.json and the file above.
void make_small_folder(const std::filesystem::path& folder);

std::vector<std::byte> raw_of(Checkpoint& checkpoint, std::string_view name);

/// Fails unless both hold the same config, tokenizer and tensors, bit for bit and in the same order.
void expect_same_checkpoint(Checkpoint& actual, Checkpoint& expected);

}  // namespace headscope::test
