#include "core/base/atomic_folder.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <system_error>

#include "core/base/atomic_file.h"
#include "core/base/error.h"
#include "core/base/file.h"

namespace headscope {
namespace {

namespace fs = std::filesystem;

fs::path without_final_slash(const fs::path& path) {
  const fs::path normal = fs::absolute(path).lexically_normal();  // "." has no name to put a temporary beside
  return normal.has_filename() ? normal : normal.parent_path();
}

}  // namespace

AtomicFolder::AtomicFolder(const fs::path& target) : target_(without_final_slash(target)) {
  require_free();
  temporary_ = temporary_beside(target_);
  if (mkdir(temporary_.c_str(), 0777) != 0) {
    fail("cannot make the folder {}: {}", quoted_path(target_), errno_text(errno));
  }
}

AtomicFolder::~AtomicFolder() {
  std::error_code ignored;
  if (!committed_) fs::remove_all(temporary_, ignored);
}

void AtomicFolder::commit() {
  sync_folder(temporary_);
  if (rename(temporary_.c_str(), target_.c_str()) != 0) {
    fail("cannot put the finished folder in place as {}: {}", quoted_path(target_), errno_text(errno));
  }
  committed_ = true;
  sync_folder(target_.has_parent_path() ? target_.parent_path() : fs::path("."));
}

void AtomicFolder::require_free() const {
  struct stat status {};
  if (lstat(target_.c_str(), &status) != 0) {
    if (errno != ENOENT) fail("cannot write {}: {}", quoted_path(target_), errno_text(errno));
    return;
  }
  std::error_code error;
  if (!S_ISDIR(status.st_mode) || !fs::is_empty(target_, error) || error) {
    fail("cannot write the folder {}: it exists and is not an empty folder; choose another name", quoted_path(target_));
  }
}

}  // namespace headscope
