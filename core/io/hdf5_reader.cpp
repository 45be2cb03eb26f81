#include <algorithm>
#include <array>
#include <exception>
#include <utility>

#include "core/base/error.h"
#include "core/base/text.h"
#include "core/io/hdf5_handle.h"

namespace headscope {
namespace {

constexpr uint64_t largest_chunk = 64u << 20;
constexpr uint64_t largest_filtered_chunk = 1u << 20;  // deflate unpacks it to at most 1,032 times its stored size
constexpr uint64_t most_filtered_chunks = 1u << 20;
constexpr uint64_t largest_expansion = 1100;  // of stored bytes; deflate's own limit is 1,032

/// What is checked of one dataset, and where to say it happened.
class DatasetCheck {
 public:
  DatasetCheck(int64_t dataset, const InputFile& input, std::string name)
      : dataset_(dataset), input_(input), name_(std::move(name)) {
    creation_ = take_id(H5Dget_create_plist(dataset), H5Pclose, input.path(), action());
  }

  std::string action() const { return fmt::format("read {} from", quoted(name_)); }
  template <class... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> rule, Args&&... args) const {
    fail("{}: dataset {} {}", quoted_path(input_.path()), quoted(name_),
         fmt::format(rule, std::forward<Args>(args)...));
  }

  /// Comes first: for a virtual dataset even asking for its shape opens other files.
  void stays_inside() const {
    const H5D_layout_t layout = H5Pget_layout(creation_.get());
    if (layout == H5D_VIRTUAL) refuse("refers to another file (a virtual dataset), which is not allowed");
    if (layout != H5D_COMPACT && layout != H5D_CONTIGUOUS && layout != H5D_CHUNKED) refuse("has an unknown layout");
    if (H5Pget_external_count(creation_.get()) != 0) {
      refuse("refers to another file (external storage), which is not allowed");
    }
  }

  /// True if there are filters.
  bool filters_allowed() const {
    const int count = H5Pget_nfilters(creation_.get());
    if (count < 0) hdf5_fail(input_.path(), action());
    for (int i = 0; i < count; ++i) {
      unsigned flags = 0, settings = 0;
      size_t values = 0;
      const H5Z_filter_t filter =
          H5Pget_filter2(creation_.get(), static_cast<unsigned>(i), &flags, &values, nullptr, 0, nullptr, &settings);
      if (filter != H5Z_FILTER_DEFLATE && filter != H5Z_FILTER_SHUFFLE && filter != H5Z_FILTER_FLETCHER32) {
        refuse("uses filter {}, which is not allowed; only deflate, shuffle and fletcher32 are", filter);
      }
    }
    return count > 0;
  }

  /// The element type; throws for anything but plain numbers.
  DType number_type() const;
  std::vector<int64_t> shape() const;
  void stored(uint64_t bytes, const std::vector<int64_t>& shape, size_t element_bytes, bool filtered) const;

 private:
  void chunks_stored(uint64_t bytes, const std::vector<int64_t>& shape, size_t element_bytes, bool filtered) const;
  void chunk_sizes(const std::vector<hsize_t>& chunk, const std::vector<int64_t>& shape, uint64_t chunk_bytes) const;

  int64_t dataset_;
  const InputFile& input_;
  std::string name_;
  Hdf5Id creation_;
};

bool same_type(int64_t type, DType candidate, const std::filesystem::path& file) {
  const Hdf5Id little = element_type(candidate, file);
  if (H5Tequal(type, little.get()) > 0) return true;
  return H5Tset_order(little.get(), H5T_ORDER_BE) >= 0 && H5Tequal(type, little.get()) > 0;
}

DType DatasetCheck::number_type() const {
  const Hdf5Id type = take_id(H5Dget_type(dataset_), H5Tclose, input_.path(), action());
  for (const DType candidate : {DType::f32, DType::u16, DType::f16, DType::u8, DType::f64, DType::i64, DType::i32,
                                DType::i16, DType::i8, DType::u64, DType::u32}) {
    if (same_type(type.get(), candidate, input_.path())) return candidate;
  }
  constexpr std::array<std::string_view, 11> classes{"integer",     "float",           "time",     "string",
                                                     "bit field",   "opaque",          "compound", "reference",
                                                     "enumeration", "variable-length", "array"};
  const int type_class = H5Tget_class(type.get());
  const bool known = type_class >= 0 && static_cast<size_t>(type_class) < classes.size();
  refuse("has an unsupported element type ({} of {} bytes); expected plain integers or floats",
         known ? classes[static_cast<size_t>(type_class)] : "unknown", H5Tget_size(type.get()));
}

std::vector<int64_t> DatasetCheck::shape() const {
  const Hdf5Id space = take_id(H5Dget_space(dataset_), H5Sclose, input_.path(), action());
  if (H5Sget_simple_extent_type(space.get()) == H5S_NULL) refuse("has no shape (a null dataspace)");
  const int rank = H5Sget_simple_extent_ndims(space.get());
  if (rank < 0) hdf5_fail(input_.path(), action());
  if (static_cast<size_t>(rank) > largest_rank)
    refuse("has {} dimensions; at most {} are supported", rank, largest_rank);
  std::vector<hsize_t> sizes(static_cast<size_t>(rank));
  if (H5Sget_simple_extent_dims(space.get(), sizes.data(), nullptr) < 0) hdf5_fail(input_.path(), action());
  for (const hsize_t size : sizes) {
    if (size > INT64_MAX) refuse("has a size beyond 63 bits");
  }
  return {sizes.begin(), sizes.end()};
}

void DatasetCheck::stored(uint64_t bytes, const std::vector<int64_t>& shape, size_t element_bytes,
                          bool filtered) const {
  if (bytes == 0) return;
  if (H5Pget_layout(creation_.get()) == H5D_CHUNKED) return chunks_stored(bytes, shape, element_bytes, filtered);
  const uint64_t found = H5Dget_storage_size(dataset_);
  if (found != bytes) {
    refuse("of shape {} needs {}, but {} are stored", shape_text(shape), format_bytes(bytes), format_bytes(found));
  }
  if (H5Pget_layout(creation_.get()) == H5D_COMPACT) return;
  const haddr_t begin = H5Dget_offset(dataset_);
  if (begin == HADDR_UNDEF || begin > input_.size() || bytes > input_.size() - begin) {
    refuse("of {} lies beyond the end of the file ({})", format_bytes(bytes), format_bytes(input_.size()));
  }
}

void DatasetCheck::chunks_stored(uint64_t bytes, const std::vector<int64_t>& shape, size_t element_bytes,
                                 bool filtered) const {
  std::vector<hsize_t> chunk(shape.size());
  const int rank = H5Pget_chunk(creation_.get(), static_cast<int>(chunk.size()), chunk.data());
  if (rank != static_cast<int>(shape.size()))
    refuse("has chunks of {} dimensions, but {} of its own", rank, shape.size());
  uint64_t chunk_bytes = element_bytes;
  const uint64_t limit = filtered ? largest_filtered_chunk : largest_chunk;
  for (const hsize_t size : chunk) {
    if (__builtin_mul_overflow(chunk_bytes, size, &chunk_bytes) || chunk_bytes > limit) {
      refuse("has chunks of more than {}", format_bytes(limit));
    }
  }
  const uint64_t found = H5Dget_storage_size(dataset_);
  if (found > input_.size()) refuse("claims {} in a file of {}", format_bytes(found), format_bytes(input_.size()));
  if (found == 0 || bytes / largest_expansion > found) {
    refuse("of shape {} needs {}, but only {} are stored", shape_text(shape), format_bytes(bytes), format_bytes(found));
  }
  if (filtered) chunk_sizes(chunk, shape, chunk_bytes);
}

/// One chunk must not hold what could unpack to far more than a chunk.
void DatasetCheck::chunk_sizes(const std::vector<hsize_t>& chunk, const std::vector<int64_t>& shape,
                               uint64_t chunk_bytes) const {
  uint64_t count = 1;
  std::vector<hsize_t> counts;
  for (size_t i = 0; i < shape.size(); ++i) {
    counts.push_back((static_cast<hsize_t>(shape[i]) + chunk[i] - 1) / chunk[i]);
    if (__builtin_mul_overflow(count, counts[i], &count) || count > most_filtered_chunks) {
      refuse("has more than {} filtered chunks", format_count(most_filtered_chunks));
    }
  }
  std::vector<hsize_t> corner(shape.size());
  for (uint64_t number = 0; number < count; ++number) {
    uint64_t rest = number;
    for (size_t i = shape.size(); i-- > 0; rest /= counts[i]) corner[i] = rest % counts[i] * chunk[i];
    hsize_t stored = 0;
    if (H5Dget_chunk_storage_size(dataset_, corner.data(), &stored) < 0) hdf5_fail(input_.path(), action());
    if (stored > chunk_bytes + chunk_bytes / 8 + 1024) {
      refuse("has a chunk of {} that is stored as {}", format_bytes(chunk_bytes), format_bytes(stored));
    }
  }
}

/// "/a", "/a/b" for "/a/b".
std::vector<std::string> prefixes(const std::string& path) {
  std::vector<std::string> all;
  for (size_t slash = path.find('/', 1); slash != path.npos; slash = path.find('/', slash + 1)) {
    all.push_back(path.substr(0, slash));
  }
  all.push_back(path);
  return all;
}

struct NameList {
  std::vector<std::string> names;
  std::exception_ptr failure;
};

herr_t keep_name(hid_t, const char* name, const H5L_info_t*, void* list) noexcept {
  auto& to = *static_cast<NameList*>(list);
  try {
    to.names.emplace_back(name);
    return 0;
  } catch (...) {  // must not pass through the library
    to.failure = std::current_exception();
    return -1;
  }
}

}  // namespace

// ---- datasets

void Hdf5DatasetReader::read_rows(uint64_t begin, uint64_t count, std::span<std::byte> out) const {
  const std::string action = fmt::format("read {} from", quoted(name_));
  const bool inside = begin <= rows() && count <= rows() - begin;
  if (!inside || out.size() != (rows() == 0 ? 0 : bytes_ / rows() * count)) {
    fail("cannot {} {}: rows [{}, {}) into {} bytes do not fit its {} rows of {} bytes", action, quoted_path(file_),
         begin, begin + count, out.size(), rows(), bytes_);
  }
  if (out.empty()) return;
  const Hdf5Id space = take_id(H5Dget_space(dataset_.get()), H5Sclose, file_, action);
  std::vector<hsize_t> from(shape_.size(), 0), size(shape_.begin(), shape_.end());
  Hdf5Id memory;
  if (shape_.empty()) {
    memory = take_id(H5Screate(H5S_SCALAR), H5Sclose, file_, action);
  } else {
    from[0] = begin;
    size[0] = count;
    memory = take_id(H5Screate_simple(static_cast<int>(size.size()), size.data(), nullptr), H5Sclose, file_, action);
    if (H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, from.data(), nullptr, size.data(), nullptr) < 0) {
      hdf5_fail(file_, action);
    }
  }
  if (H5Dread(dataset_.get(), type_.get(), memory.get(), space.get(), H5P_DEFAULT, out.data()) < 0) {
    hdf5_fail(file_, action);
  }
}

// ---- the file

Hdf5Reader::Hdf5Reader(const std::filesystem::path& path) : input_(path) {
  prepare_hdf5();
  file_ = open_hdf5(path);
}

bool Hdf5Reader::has(const std::string& object) const {
  for (const std::string& prefix : prefixes(object)) {
    const htri_t found = H5Lexists(file_.get(), prefix.c_str(), H5P_DEFAULT);
    if (found < 0) hdf5_fail(path(), fmt::format("look for {} in", quoted(object)));
    if (found == 0) return false;
    require_hard_link(prefix);
  }
  return true;
}

/// Looks at the link itself; everything before it must have passed already.
void Hdf5Reader::require_hard_link(const std::string& object) const {
  H5L_info_t link;
  if (H5Lget_info(file_.get(), object.c_str(), &link, H5P_DEFAULT) < 0) {
    hdf5_fail(path(), fmt::format("find {} in", quoted(object)));
  }
  if (link.type == H5L_TYPE_HARD) return;
  fail("{}: {} {}, which is not allowed", quoted_path(path()), quoted(object),
       link.type == H5L_TYPE_SOFT ? "is a soft link" : "refers to another file (an external link)");
}

Hdf5Id Hdf5Reader::open_object(const std::string& object) const {
  if (object != "/") {
    for (const std::string& prefix : prefixes(object)) require_hard_link(prefix);
  }
  return take_id(H5Oopen(file_.get(), object.c_str(), H5P_DEFAULT), H5Oclose, path(),
                 fmt::format("open {} in", quoted(object)));
}

std::vector<std::string> Hdf5Reader::names(const std::string& group, size_t limit) const {
  const Hdf5Id object = open_object(group);
  if (H5Iget_type(object.get()) != H5I_GROUP) fail("{}: {} is not a group", quoted_path(path()), quoted(group));
  const std::string action = fmt::format("list {} in", quoted(group));
  H5G_info_t info;
  if (H5Gget_info(object.get(), &info) < 0) hdf5_fail(path(), action);
  if (info.nlinks > limit) {
    fail("{}: group {} has {} members; at most {} are supported", quoted_path(path()), quoted(group),
         format_count(info.nlinks), format_count(limit));
  }
  NameList list;
  if (H5Literate(object.get(), H5_INDEX_NAME, H5_ITER_INC, nullptr, keep_name, &list) < 0) {
    if (list.failure) std::rethrow_exception(list.failure);
    hdf5_fail(path(), action);
  }
  return std::move(list.names);
}

Hdf5DatasetReader Hdf5Reader::dataset(const std::string& name) const {
  Hdf5DatasetReader reader;
  reader.file_ = path();
  reader.name_ = name;
  reader.dataset_ = open_object(name);
  if (H5Iget_type(reader.dataset_.get()) != H5I_DATASET) {
    fail("{}: {} is not a dataset", quoted_path(path()), quoted(name));
  }
  const DatasetCheck check(reader.dataset_.get(), input_, name);
  check.stays_inside();
  const bool filtered = check.filters_allowed();
  reader.dtype_ = check.number_type();
  reader.type_ = element_type(reader.dtype_, path());
  reader.shape_ = check.shape();
  const size_t element_bytes = dtype_bytes(reader.dtype_);
  reader.bytes_ =
      checked_tensor_bytes(reader.shape_, static_cast<unsigned>(8 * element_bytes), name, quoted_path(path()));
  check.stored(reader.bytes_, reader.shape_, element_bytes, filtered);
  return reader;
}

// ---- attributes

bool Hdf5Reader::has_attribute(const std::string& object, const std::string& name) const {
  const Hdf5Id owner = open_object(object);
  const htri_t found = H5Aexists(owner.get(), name.c_str());
  if (found < 0) hdf5_fail(path(), fmt::format("look for attribute {} of {} in", quoted(name), quoted(object)));
  return found > 0;
}

Hdf5Id Hdf5Reader::open_attribute(const std::string& object, const std::string& name) const {
  const Hdf5Id owner = open_object(object);
  const htri_t found = H5Aexists(owner.get(), name.c_str());
  if (found == 0) fail("{}: {} has no attribute {}", quoted_path(path()), quoted(object), quoted(name));
  return take_id(H5Aopen(owner.get(), name.c_str(), H5P_DEFAULT), H5Aclose, path(),
                 fmt::format("open attribute {} of {} in", quoted(name), quoted(object)));
}

}  // namespace headscope
