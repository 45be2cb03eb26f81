// Attributes of an untrusted file: type and size are checked before the value is read.
#include <cstring>

#include "core/base/error.h"
#include "core/base/text.h"
#include "core/io/hdf5_handle.h"

namespace headscope {
namespace {

constexpr hssize_t longest_list = 1 << 16;

/// An open attribute and how to speak of it.
struct Attribute {
  const Hdf5Id& id;
  const std::filesystem::path& file;
  std::string label;  // "attribute NAME of OBJECT"

  std::string action() const { return fmt::format("read {} of", label); }
  [[noreturn]] void refuse(std::string_view expected) const {
    fail("{}: {} is not {}", quoted_path(file), label, expected);
  }

  Hdf5Id type() const { return take_id(H5Aget_type(id.get()), H5Tclose, file, action()); }

  /// How many elements it has; -1 for a list when `scalar` is asked for, or one of several dimensions.
  hssize_t count(bool scalar) const {
    const Hdf5Id space = take_id(H5Aget_space(id.get()), H5Sclose, file, action());
    const int rank = H5Sget_simple_extent_ndims(space.get());
    if (H5Sget_simple_extent_type(space.get()) == H5S_NULL || rank != (scalar ? 0 : 1)) return -1;
    return H5Sget_simple_extent_npoints(space.get());
  }
};

std::string read_variable_text(const Attribute& attribute, const Hdf5Id& type, size_t limit) {
  char* text = nullptr;
  if (H5Aread(attribute.id.get(), type.get(), &text) < 0) hdf5_fail(attribute.file, attribute.action());
  if (!text) return "";
  const size_t size = strnlen(text, limit + 1);
  std::string copy;
  if (size <= limit) copy.assign(text, size);
  H5free_memory(text);
  if (size > limit) attribute.refuse(fmt::format("a text of at most {}", format_bytes(limit)));
  return copy;
}

std::string read_fixed_text(const Attribute& attribute, const Hdf5Id& type, size_t limit) {
  const size_t size = H5Tget_size(type.get());
  if (size > limit) attribute.refuse(fmt::format("a text of at most {}", format_bytes(limit)));
  std::string text(size, '\0');
  if (H5Aread(attribute.id.get(), type.get(), text.data()) < 0) hdf5_fail(attribute.file, attribute.action());
  const size_t end = text.find('\0');
  return end == text.npos ? text : text.substr(0, end);
}

}  // namespace

std::string Hdf5Reader::text_attribute(const std::string& object, const std::string& name, size_t limit) const {
  const Hdf5Id id = open_attribute(object, name);
  const Attribute attribute{id, path(), fmt::format("attribute {} of {}", quoted(name), quoted(object))};
  const Hdf5Id type = attribute.type();
  if (H5Tget_class(type.get()) != H5T_STRING || attribute.count(true) != 1) attribute.refuse("a single text");
  const auto read = H5Tis_variable_str(type.get()) > 0 ? read_variable_text : read_fixed_text;
  std::string text = read(attribute, type, limit);
  if (valid_utf8_prefix(text) != text.size()) attribute.refuse("UTF-8");
  return text;
}

int64_t Hdf5Reader::int_attribute(const std::string& object, const std::string& name) const {
  const Hdf5Id id = open_attribute(object, name);
  const Attribute attribute{id, path(), fmt::format("attribute {} of {}", quoted(name), quoted(object))};
  if (H5Tget_class(attribute.type().get()) != H5T_INTEGER || attribute.count(true) != 1) {
    attribute.refuse("a single integer");
  }
  int64_t value = 0;
  if (H5Aread(id.get(), H5T_STD_I64LE, &value) < 0) hdf5_fail(path(), attribute.action());
  return value;
}

std::vector<int64_t> Hdf5Reader::ints_attribute(const std::string& object, const std::string& name) const {
  const Hdf5Id id = open_attribute(object, name);
  const Attribute attribute{id, path(), fmt::format("attribute {} of {}", quoted(name), quoted(object))};
  const hssize_t count = attribute.count(false);
  if (H5Tget_class(attribute.type().get()) != H5T_INTEGER || count < 0 || count > longest_list) {
    attribute.refuse(fmt::format("a list of at most {} integers", longest_list));
  }
  std::vector<int64_t> values(static_cast<size_t>(count));
  if (count > 0 && H5Aread(id.get(), H5T_STD_I64LE, values.data()) < 0) hdf5_fail(path(), attribute.action());
  return values;
}

}  // namespace headscope
