#include <algorithm>
#include <iterator>
#include <numeric>
#include <type_traits>
#include <utility>

#include "core/base/error.h"
#include "core/io/hdf5_handle.h"

namespace headscope {
namespace {

template <class T>
constexpr DType dtype_of() {
  if constexpr (std::is_same_v<T, float>)
    return DType::f32;
  else if constexpr (std::is_same_v<T, int64_t>)
    return DType::i64;
  else if constexpr (std::is_same_v<T, int32_t>)
    return DType::i32;
  else if constexpr (std::is_same_v<T, uint64_t>)
    return DType::u64;
  else if constexpr (std::is_same_v<T, uint16_t>)
    return DType::u16;
  else
    return DType::u8;
}

Hdf5Id make_space(std::span<const uint64_t> shape, const std::filesystem::path& file) {
  if (shape.empty()) return take_id(H5Screate(H5S_SCALAR), H5Sclose, file, "make a scalar for");
  const std::vector<hsize_t> sizes(shape.begin(), shape.end());
  return take_id(H5Screate_simple(static_cast<int>(sizes.size()), sizes.data(), nullptr), H5Sclose, file,
                 "make a shape for");
}

/// The file is only known to this process until it is in place, so it needs no lock, which some shared file
/// systems do not have. Closing it also closes what is still open in it.
Hdf5Id make_access(const std::filesystem::path& file) {
  Hdf5Id access = take_id(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, file, "create");
  const bool set = H5Pset_libver_bounds(access.get(), H5F_LIBVER_V110, H5F_LIBVER_V110) >= 0 &&
                   H5Pset_fclose_degree(access.get(), H5F_CLOSE_STRONG) >= 0 &&
                   H5Pset_file_locking(access.get(), false, true) >= 0;
  if (!set) hdf5_fail(file, "create");
  return access;
}

Hdf5Id make_parents(const std::filesystem::path& file) {
  Hdf5Id links = take_id(H5Pcreate(H5P_LINK_CREATE), H5Pclose, file, "write");
  const bool set =
      H5Pset_create_intermediate_group(links.get(), 1) >= 0 && H5Pset_char_encoding(links.get(), H5T_CSET_UTF8) >= 0;
  if (!set) hdf5_fail(file, "write");
  return links;
}

/// A C string cannot hold a NUL; it is written as other bytes that are no text are.
std::string without_nul(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\0')
      out += "<0x00>";
    else
      out += c;
  }
  return out;
}

/// Texts as the library wants them: an array of pointers, and what they point to.
struct TextPointers {
  explicit TextPointers(std::span<const std::string> texts) {
    std::transform(texts.begin(), texts.end(), std::back_inserter(clean), without_nul);
    for (const std::string& text : clean) pointers.push_back(text.c_str());
  }
  std::vector<std::string> clean;
  std::vector<const char*> pointers;
};

/// Writes one attribute of `type`; `shape` empty for a scalar.
void put_attribute(int64_t object, const std::string& name, int64_t type, std::span<const uint64_t> shape,
                   const void* data, const std::filesystem::path& file) {
  const std::string action = fmt::format("write attribute {} to", quoted(name));
  const Hdf5Id space = make_space(shape, file);
  const Hdf5Id attribute =
      take_id(H5Acreate2(object, name.c_str(), type, space.get(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose, file, action);
  const bool is_empty = shape.size() == 1 && shape[0] == 0;
  if (!is_empty && H5Awrite(attribute.get(), type, data) < 0) hdf5_fail(file, action);
}

/// Writes whichever value an attribute has.
class AttributeVisitor {
 public:
  AttributeVisitor(int64_t object, std::string name, const std::filesystem::path& file)
      : object_(object), name_(std::move(name)), file_(file) {}

  void operator()(const std::string& text) const {
    const TextPointers texts(std::span(&text, 1));
    put_attribute(object_, name_, text_type(file_).get(), {}, texts.pointers.data(), file_);
  }
  void operator()(int64_t value) const { put_attribute(object_, name_, H5T_STD_I64LE, {}, &value, file_); }
  void operator()(double value) const { put_attribute(object_, name_, H5T_IEEE_F64LE, {}, &value, file_); }
  void operator()(const std::vector<std::string>& values) const {
    const TextPointers texts(values);
    const uint64_t shape[] = {values.size()};
    put_attribute(object_, name_, text_type(file_).get(), shape, texts.pointers.data(), file_);
  }
  void operator()(const std::vector<int64_t>& values) const {
    const uint64_t shape[] = {values.size()};
    put_attribute(object_, name_, H5T_STD_I64LE, shape, values.data(), file_);
  }
  void operator()(const std::vector<double>& values) const {
    const uint64_t shape[] = {values.size()};
    put_attribute(object_, name_, H5T_IEEE_F64LE, shape, values.data(), file_);
  }

 private:
  int64_t object_;
  std::string name_;
  const std::filesystem::path& file_;
};

uint64_t product(std::span<const uint64_t> sizes) {
  return std::accumulate(sizes.begin(), sizes.end(), uint64_t{1}, std::multiplies<>());
}

}  // namespace

// ---- one dataset

Hdf5DatasetWriter::Hdf5DatasetWriter(std::filesystem::path file, std::string name, DType dtype,
                                     std::vector<uint64_t> shape)
    : file_(std::move(file)),
      name_(std::move(name)),
      dtype_(dtype),
      shape_(std::move(shape)),
      type_(element_type(dtype, file_)) {}

void Hdf5DatasetWriter::write_box(std::span<const uint64_t> begin, std::span<const uint64_t> count,
                                  std::span<const std::byte> bytes) {
  const std::string action = fmt::format("write {} to", quoted(name_));
  if (begin.size() != shape_.size() || count.size() != shape_.size()) {
    fail("cannot {} {}: a part has {} dimensions, expected {}", action, quoted_path(file_), count.size(),
         shape_.size());
  }
  for (size_t i = 0; i < shape_.size(); ++i) {
    if (begin[i] <= shape_[i] && count[i] <= shape_[i] - begin[i]) continue;
    fail("cannot {} {}: part [{}, {}) of dimension {} is outside its size {}", action, quoted_path(file_), begin[i],
         begin[i] + count[i], i, shape_[i]);
  }
  const uint64_t expected = product(count) * dtype_bytes(dtype_);
  if (bytes.size() != expected) {
    fail("cannot {} {}: {} bytes given, expected {}", action, quoted_path(file_), bytes.size(), expected);
  }
  if (bytes.empty()) return;
  const Hdf5Id space = take_id(H5Dget_space(dataset_.get()), H5Sclose, file_, action);
  const Hdf5Id memory = make_space(count, file_);
  const std::vector<hsize_t> from(begin.begin(), begin.end()), size(count.begin(), count.end());
  const bool is_part = !shape_.empty();
  if (is_part && H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, from.data(), nullptr, size.data(), nullptr) < 0) {
    hdf5_fail(file_, action);
  }
  if (H5Dwrite(dataset_.get(), type_.get(), memory.get(), space.get(), H5P_DEFAULT, bytes.data()) < 0) {
    hdf5_fail(file_, action);
  }
}

void Hdf5DatasetWriter::write_slab(std::span<const uint64_t> begin, std::span<const uint64_t> count,
                                   std::span<const float> values) {
  if (dtype_ != DType::f32) fail("{} in {} is not f32", quoted(name_), quoted_path(file_));
  write_box(begin, count, std::as_bytes(values));
}

void Hdf5DatasetWriter::write_rows(uint64_t begin, uint64_t count, std::span<const float> values) {
  if (dtype_ != DType::f32) fail("{} in {} is not f32", quoted(name_), quoted_path(file_));
  write_rows(begin, count, std::as_bytes(values));
}

void Hdf5DatasetWriter::write_rows(uint64_t begin, uint64_t count, std::span<const std::byte> bytes) {
  std::vector<uint64_t> from(shape_.size(), 0), size = shape_;
  if (!shape_.empty()) {
    from[0] = begin;
    size[0] = count;
  }
  write_box(from, size, bytes);
}

// ---- the file

Hdf5Writer::Hdf5Writer(const std::filesystem::path& target) : target_(target) {
  prepare_hdf5();
  const Hdf5Id access = make_access(target);
  file_ = take_id(H5Fcreate(target_.temporary().c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access.get()), H5Fclose, target,
                  "create");
}

void Hdf5Writer::group(std::string_view path) {
  const std::filesystem::path& file = target_.target();
  const Hdf5Id links = make_parents(file);
  take_id(H5Gcreate2(file_.get(), std::string(path).c_str(), links.get(), H5P_DEFAULT, H5P_DEFAULT), H5Gclose, file,
          fmt::format("make group {} in", quoted(path)));
}

void Hdf5Writer::attribute(std::string_view object, std::string_view name, const Hdf5Attribute& value) {
  const std::filesystem::path& file = target_.target();
  const Hdf5Id owner = take_id(H5Oopen(file_.get(), std::string(object).c_str(), H5P_DEFAULT), H5Oclose, file,
                               fmt::format("find {} in", quoted(object)));
  std::visit(AttributeVisitor(owner.get(), std::string(name), file), value);
}

Hdf5DatasetWriter Hdf5Writer::create(std::string_view path, DType dtype, std::span<const uint64_t> shape) {
  const std::filesystem::path& file = target_.target();
  const std::string name(path), action = fmt::format("make dataset {} in", quoted(path));
  Hdf5DatasetWriter writer(file, name, dtype, {shape.begin(), shape.end()});
  const Hdf5Id space = make_space(shape, file), links = make_parents(file);
  const Hdf5Id layout = take_id(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, file, action);
  // Without this the first partial write fills the whole dataset; a hole in a new file reads as zero anyway.
  if (H5Pset_fill_time(layout.get(), H5D_FILL_TIME_NEVER) < 0) hdf5_fail(file, action);
  writer.dataset_ = take_id(
      H5Dcreate2(file_.get(), name.c_str(), writer.type_.get(), space.get(), links.get(), layout.get(), H5P_DEFAULT),
      H5Dclose, file, action);
  return writer;
}

template <class T>
void Hdf5Writer::dataset(std::string_view path, std::span<const T> values, std::span<const uint64_t> shape) {
  Hdf5DatasetWriter writer = create(path, dtype_of<T>(), shape);
  writer.write_rows(0, shape.empty() ? 1 : shape[0], std::as_bytes(values));
}

template void Hdf5Writer::dataset(std::string_view, std::span<const float>, std::span<const uint64_t>);
template void Hdf5Writer::dataset(std::string_view, std::span<const int64_t>, std::span<const uint64_t>);
template void Hdf5Writer::dataset(std::string_view, std::span<const int32_t>, std::span<const uint64_t>);
template void Hdf5Writer::dataset(std::string_view, std::span<const uint64_t>, std::span<const uint64_t>);
template void Hdf5Writer::dataset(std::string_view, std::span<const uint16_t>, std::span<const uint64_t>);
template void Hdf5Writer::dataset(std::string_view, std::span<const uint8_t>, std::span<const uint64_t>);

void Hdf5Writer::texts(std::string_view path, std::span<const std::string> values) {
  const std::filesystem::path& file = target_.target();
  const std::string action = fmt::format("write {} to", quoted(path));
  const uint64_t shape[] = {values.size()};
  const Hdf5Id type = text_type(file), space = make_space(shape, file), links = make_parents(file);
  const Hdf5Id dataset = take_id(H5Dcreate2(file_.get(), std::string(path).c_str(), type.get(), space.get(),
                                            links.get(), H5P_DEFAULT, H5P_DEFAULT),
                                 H5Dclose, file, action);
  const TextPointers texts(values);
  if (values.empty()) return;
  if (H5Dwrite(dataset.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, texts.pointers.data()) < 0) {
    hdf5_fail(file, action);
  }
}

void Hdf5Writer::finish() {
  if (H5Fflush(file_.get(), H5F_SCOPE_GLOBAL) < 0 || !file_.close()) hdf5_fail(target_.target(), "write");
  target_.commit();
}

}  // namespace headscope
