#include "core/base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include "core/base/error.h"
#include "core/base/text.h"

namespace headscope {
namespace {

constexpr size_t largest_transfer = 64u << 20;  // Linux moves at most 2 GiB - 4 KiB in one call

const char* kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISFIFO(mode)) return "a pipe";
  if (S_ISSOCK(mode)) return "a socket";
  if (S_ISCHR(mode) || S_ISBLK(mode)) return "a device";
  return "something else";
}

void require_regular(const std::filesystem::path& path, const struct stat& status) {
  if (!S_ISREG(status.st_mode)) fail("{} is not a regular file but {}", quoted_path(path), kind_of(status.st_mode));
}

std::string write_failure(const std::filesystem::path& path, int error_number, size_t needed) {
  std::string text = fmt::format("cannot write {}: {}", quoted_path(path), errno_text(error_number));
  struct statvfs space {};
  if (error_number == ENOSPC && statvfs(path.c_str(), &space) == 0) {
    text +=
        fmt::format(" ({} more needed, {} free)", format_bytes(needed), format_bytes(space.f_bavail * space.f_frsize));
  }
  return text;
}

}  // namespace

std::string errno_text(int error_number) { return std::generic_category().message(error_number); }

InputFile::InputFile(std::filesystem::path path) : path_(std::move(path)) {
  // Looked at before it is opened (opening a device can act on it) and again after (it may have been swapped).
  struct stat status {};
  if (stat(path_.c_str(), &status) != 0) fail("cannot open {}: {}", quoted_path(path_), errno_text(errno));
  require_regular(path_, status);
  descriptor_ = open(path_.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
  if (descriptor_ < 0) fail("cannot open {}: {}", quoted_path(path_), errno_text(errno));
  try {
    if (fstat(descriptor_, &status) != 0) fail("cannot examine {}: {}", quoted_path(path_), errno_text(errno));
    require_regular(path_, status);
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
  size_ = static_cast<uint64_t>(status.st_size);
}

InputFile::~InputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)), size_(other.size_) {}

void InputFile::read_at(uint64_t offset, std::span<std::byte> out) const {
  size_t done = 0;
  while (done < out.size()) {
    const size_t count = std::min(out.size() - done, largest_transfer);
    const ssize_t got = pread(descriptor_, out.data() + done, count, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail("cannot read {} at byte {}: {}", quoted_path(path_), offset + done, errno_text(errno));
    if (got == 0) {
      fail("{} became shorter while it was open: expected data up to byte {}, found the end at byte {}",
           quoted_path(path_), offset + out.size(), offset + done);
    }
    done += static_cast<size_t>(got);
  }
}

void InputFile::require_size() const {
  struct stat status {};
  if (fstat(descriptor_, &status) != 0) fail("cannot examine {}: {}", quoted_path(path_), errno_text(errno));
  if (const auto found = static_cast<uint64_t>(status.st_size); found < size_) {
    fail("{} became shorter while it was open: expected {}, found {}", quoted_path(path_), format_bytes(size_),
         format_bytes(found));
  }
}

std::string InputFile::beginning(size_t count) const {
  std::string text(std::min<uint64_t>(count, size_), '\0');
  read_at(0, std::as_writable_bytes(std::span(text)));
  return text;
}

std::string read_small_file(const std::filesystem::path& path, uint64_t limit) {
  const InputFile file(path);
  if (file.size() > limit) {
    fail("{} is too large: {} found, at most {} expected", quoted_path(path), format_bytes(file.size()),
         format_bytes(limit));
  }
  return file.beginning(file.size());
}

OutputFile::OutputFile(std::filesystem::path path)
    : path_(std::move(path)), descriptor_(open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) {
  if (descriptor_ < 0) fail("cannot create {}: {}", quoted_path(path_), errno_text(errno));
}

OutputFile::~OutputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void OutputFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(descriptor_, bytes.data(), std::min(bytes.size(), largest_transfer));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) throw Error(write_failure(path_, errno, bytes.size()));
    bytes = bytes.subspan(static_cast<size_t>(put));
    written_ += static_cast<uint64_t>(put);
  }
}

void OutputFile::close() {
  if (fsync(descriptor_) != 0) throw Error(write_failure(path_, errno, 0));
  if (::close(std::exchange(descriptor_, -1)) != 0) throw Error(write_failure(path_, errno, 0));
}

}  // namespace headscope
