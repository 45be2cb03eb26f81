#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace headscope {

/// A file that appears whole or not at all. Write to `temporary()`, then call `commit()`: the data is synced
/// and renamed over the target, whose old content survives every failure before that. The destructor removes
/// an uncommitted temporary. A target that is a directory or whose folder is missing or not writable throws
/// Error at once, before any work.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path target);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  const std::filesystem::path& temporary() const { return temporary_; }
  void commit();

 private:
  std::filesystem::path target_, temporary_;
  bool committed_ = false;
};

/// Writes `content` to `path` through an AtomicFile.
void write_file_atomically(const std::filesystem::path& path, std::string_view content);

}  // namespace headscope
