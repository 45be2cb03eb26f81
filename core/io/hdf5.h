#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/base/atomic_file.h"
#include "core/base/file.h"
#include "core/io/checkpoint.h"

// HDF5 files, read as untrusted input and written whole. libhdf5 has one lock around everything: use all of this
// from one thread at a time. Objects are named by absolute paths such as "/attention/layer_000". All failures
// throw Error naming the file and the object.

namespace headscope {

/// Owns one id of the C library. An id left open can crash libhdf5 when the program ends.
class Hdf5Id {
 public:
  Hdf5Id() = default;
  Hdf5Id(int64_t id, int (*closer)(int64_t)) : id_(id), close_(closer) {}
  ~Hdf5Id();
  Hdf5Id(Hdf5Id&& other) noexcept;
  Hdf5Id& operator=(Hdf5Id&& other) noexcept;

  int64_t get() const { return id_; }
  /// Closes now; false if the library reports a failure.
  bool close();

 private:
  int64_t id_ = -1;
  int (*close_)(int64_t) = nullptr;
};

/// Text is variable-length UTF-8 (h5py: str).
using Hdf5Attribute =
    std::variant<std::string, int64_t, double, std::vector<std::string>, std::vector<int64_t>, std::vector<double>>;

/// A dataset being written by slabs. Parts never written read as zero. Must not outlive its Hdf5Writer.
class Hdf5DatasetWriter {
 public:
  /// Writes `values`, row-major, to the box of `count` elements from `begin` (both one number per dimension).
  void write_slab(std::span<const uint64_t> begin, std::span<const uint64_t> count, std::span<const float> values);
  /// Writes rows [begin, begin + count) of the first dimension.
  void write_rows(uint64_t begin, uint64_t count, std::span<const float> values);
  /// The same for any element type, as bytes in memory order.
  void write_rows(uint64_t begin, uint64_t count, std::span<const std::byte> bytes);

 private:
  friend class Hdf5Writer;
  Hdf5DatasetWriter(std::filesystem::path file, std::string name, DType dtype, std::vector<uint64_t> shape);
  void write_box(std::span<const uint64_t> begin, std::span<const uint64_t> count, std::span<const std::byte> bytes);

  std::filesystem::path file_;
  std::string name_;
  DType dtype_;
  std::vector<uint64_t> shape_;
  Hdf5Id type_, dataset_;
};

/// An HDF5 file (format of version 1.10) that appears whole or not at all, when `finish()` returns. Parent groups
/// are made as needed. Nothing can be written twice. Text with a NUL in it is written with "<0x00>" in its place.
class Hdf5Writer {
 public:
  explicit Hdf5Writer(const std::filesystem::path& target);

  void group(std::string_view path);
  /// Attaches to the group or dataset `object` ("/" is the file itself), which must exist.
  void attribute(std::string_view object, std::string_view name, const Hdf5Attribute& value);

  /// Writes a dataset; `values` fills `shape`, row-major. T is float, int64_t, int32_t, uint64_t, uint16_t or uint8_t.
  template <class T>
  void dataset(std::string_view path, std::span<const T> values, std::span<const uint64_t> shape);
  /// Writes a list.
  template <class T>
  void dataset(std::string_view path, const std::vector<T>& values) {
    const uint64_t shape[] = {values.size()};
    dataset(path, std::span<const T>(values), shape);
  }
  /// Writes a list of variable-length UTF-8 texts.
  void texts(std::string_view path, std::span<const std::string> values);

  /// A dataset to be written by slabs; an empty shape is a scalar.
  Hdf5DatasetWriter create(std::string_view path, DType dtype, std::span<const uint64_t> shape);

  /// Closes, syncs and puts the file in place. Nothing may be written afterwards.
  void finish();

 private:
  AtomicFile target_;
  Hdf5Id file_;
};

/// A dataset to be read, already checked: numbers of a fixed type, stored in this file, within the limits.
class Hdf5DatasetReader {
 public:
  DType dtype() const { return dtype_; }  ///< the numeric type; f16 is IEEE binary16
  const std::vector<int64_t>& shape() const { return shape_; }
  uint64_t bytes() const { return bytes_; }
  /// Size of the first dimension; 1 for a scalar.
  uint64_t rows() const { return shape_.empty() ? 1 : static_cast<uint64_t>(shape_[0]); }

  /// Reads rows [begin, begin + count) in the machine's byte order; `out` has exactly their size.
  void read_rows(uint64_t begin, uint64_t count, std::span<std::byte> out) const;

 private:
  friend class Hdf5Reader;
  std::filesystem::path file_;
  std::string name_;
  DType dtype_ = DType::other;
  std::vector<int64_t> shape_;
  uint64_t bytes_ = 0;
  Hdf5Id type_, dataset_;
};

/// An HDF5 file opened for reading under robustness rules: only hard links are followed, no data outside the file,
/// no plugins, filters only deflate, shuffle and fletcher32, at most 8 dimensions, chunks of at most 64 MiB (1 MiB
/// and 2^20 in number when filtered), stored data at least 1/1100 of what it unpacks to. Checked before anything is
/// read.
class Hdf5Reader {
 public:
  explicit Hdf5Reader(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return input_.path(); }

  /// Throws if the file has become shorter since it was opened; libhdf5 then reads zeros without an error.
  void require_complete() const { input_.require_size(); }

  bool has(const std::string& object) const;
  bool has_attribute(const std::string& object, const std::string& name) const;
  /// A scalar text of at most `limit` bytes.
  std::string text_attribute(const std::string& object, const std::string& name, size_t limit = 1u << 20) const;
  int64_t int_attribute(const std::string& object, const std::string& name) const;
  std::vector<int64_t> ints_attribute(const std::string& object, const std::string& name) const;

  /// Names in a group, sorted; more than `limit` throw.
  std::vector<std::string> names(const std::string& group, size_t limit = 1'000'000) const;
  Hdf5DatasetReader dataset(const std::string& path) const;

 private:
  void require_hard_link(const std::string& object) const;
  /// Opens a group or dataset after checking every link on the way.
  Hdf5Id open_object(const std::string& path) const;
  Hdf5Id open_attribute(const std::string& object, const std::string& name) const;

  InputFile input_;
  Hdf5Id file_;
};

}  // namespace headscope
