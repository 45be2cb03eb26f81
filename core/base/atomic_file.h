#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace headscope {

/// A file that appears whole or not at all. Write to `temporary()`, then call `commit()`: the data is synced
/// and renamed over the target, whose old content survives every failure before that. The destructor removes
/// an uncommitted temporary. A target that is a directory or a device, or whose folder is missing or not writable,
/// throws Error at once, before any work. A target that is a symbolic link is replaced by the new file; what the
/// link pointed to stays as it was. The permissions of a replaced file are kept. One thread at a time.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path target);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  const std::filesystem::path& target() const { return target_; }
  const std::filesystem::path& temporary() const { return temporary_; }
  void commit();

 private:
  std::filesystem::path target_, temporary_;
  bool committed_ = false;
};

/// "name.tmp-<pid>-<random>": a name for unfinished work beside `target`, shortened to what a folder accepts.
std::filesystem::path temporary_beside(const std::filesystem::path& target);

/// Makes the entries of `folder` (a rename, a new file) survive a crash of the machine.
void sync_folder(const std::filesystem::path& folder);

/// Writes `content` to `path` through an AtomicFile.
void write_file_atomically(const std::filesystem::path& path, std::string_view content);

}  // namespace headscope
