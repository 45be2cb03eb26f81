#include "core/base/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <random>
#include <system_error>
#include <utility>

#include "core/base/error.h"
#include "core/base/file.h"

namespace headscope {
namespace {

std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

/// Syncs what `path` names. File systems without sync of folders answer EINVAL, which is no failure.
void sync_path(const std::filesystem::path& path, int flags) {
  const int descriptor = open(path.c_str(), flags | O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail("cannot open {} to sync it: {}", quoted_path(path), errno_text(errno));
  const int result = fsync(descriptor);
  const int error_number = errno;
  close(descriptor);
  if (result != 0 && error_number != EINVAL) {
    fail("cannot sync {} to the disk: {}", quoted_path(path), errno_text(error_number));
  }
}

/// The permissions a new file at `target` shall have: those of the regular file it replaces, or none in particular.
/// Throws for a target that cannot be replaced.
mode_t permissions_to_keep(const std::filesystem::path& target) {
  struct stat status {};
  const bool found = stat(target.c_str(), &status) == 0;
  if (!found && errno != ENOENT) fail("cannot write {}: {}", quoted_path(target), errno_text(errno));
  if (!found) return 0;
  if (S_ISDIR(status.st_mode)) fail("cannot write {}: it is a folder", quoted_path(target));
  if (!S_ISREG(status.st_mode)) fail("cannot write {}: it is not a regular file", quoted_path(target));
  return status.st_mode & 07777;
}

}  // namespace

std::filesystem::path temporary_beside(const std::filesystem::path& target) {
  constexpr size_t longest_name = 255;
  std::random_device random;
  const std::string suffix = fmt::format(".tmp-{}-{:08x}", getpid(), random());
  const std::string name = target.filename().native();
  return folder_of(target) / (name.substr(0, longest_name - suffix.size()) + suffix);
}

void sync_folder(const std::filesystem::path& folder) { sync_path(folder, O_DIRECTORY); }

AtomicFile::AtomicFile(std::filesystem::path target) : target_(std::move(target)) {
  if (!target_.has_filename()) fail("cannot write {}: it names a folder, not a file", quoted_path(target_));
  std::error_code ignored;
  if (!std::filesystem::is_directory(folder_of(target_), ignored)) {
    fail("cannot write {}: there is no folder {}", quoted_path(target_), quoted_path(folder_of(target_)));
  }
  const mode_t permissions = permissions_to_keep(target_);
  temporary_ = temporary_beside(target_);
  const int descriptor = open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor < 0) {
    fail("cannot write {}: no file can be made in its folder: {}", quoted_path(target_), errno_text(errno));
  }
  if (permissions != 0) static_cast<void>(fchmod(descriptor, permissions));
  close(descriptor);
}

AtomicFile::~AtomicFile() {
  if (!committed_) unlink(temporary_.c_str());
}

void AtomicFile::commit() {
  sync_path(temporary_, 0);
  if (rename(temporary_.c_str(), target_.c_str()) != 0) {
    fail("cannot put the finished file in place as {}: {}", quoted_path(target_), errno_text(errno));
  }
  committed_ = true;
  sync_folder(folder_of(target_));
}

void write_file_atomically(const std::filesystem::path& path, std::string_view content) {
  AtomicFile file(path);
  OutputFile out(file.temporary());
  out.write(content);
  out.close();
  file.commit();
}

}  // namespace headscope
