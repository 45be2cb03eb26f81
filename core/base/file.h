#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace headscope {

/// "Permission denied" for EACCES.
std::string errno_text(int error_number);

/// An open regular file, read by position. Opening never waits: folders, pipes, sockets and devices are refused,
/// also behind symbolic links. Safe to read from several threads. All failures throw Error naming the file.
class InputFile {
 public:
  explicit InputFile(std::filesystem::path path);
  ~InputFile();
  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&&) = delete;

  const std::filesystem::path& path() const { return path_; }
  /// Size in bytes when it was opened.
  uint64_t size() const { return size_; }

  /// Fills `out` from byte `offset`. A file that has become shorter since it was opened throws.
  void read_at(uint64_t offset, std::span<std::byte> out) const;

  /// Throws if the file is shorter now than when it was opened, for those who read it by other means.
  void require_size() const;

  /// The first bytes, at most `count`: enough to recognise what the file is.
  std::string beginning(size_t count) const;

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  uint64_t size_ = 0;
};

/// The whole of a small file; more than `limit` bytes throw before anything is read.
std::string read_small_file(const std::filesystem::path& path, uint64_t limit);

/// A file written from the beginning, for use on AtomicFile::temporary(). Created or truncated on opening.
class OutputFile {
 public:
  explicit OutputFile(std::filesystem::path path);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  /// Appends. A full disk throws with what is needed and what is free.
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  uint64_t written() const { return written_; }
  /// Syncs to the disk and closes; must be called for the content to count.
  void close();

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  uint64_t written_ = 0;
};

}  // namespace headscope
