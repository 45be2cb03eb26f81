// The header of a safetensors file: JSON events to checked tensor descriptions.
#include <algorithm>
#include <array>
#include <bit>
#include <numeric>
#include <utility>

#include "core/base/error.h"
#include "core/base/text.h"
#include "core/io/content_kind.h"
#include "core/io/safetensors.h"

namespace headscope {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian and read as it is");

constexpr uint64_t largest_header = 100'000'000;
constexpr size_t largest_tensor_count = 1'000'000;
constexpr size_t largest_metadata = 16u << 20;
constexpr int header_depth = 3;  // the header, a tensor, its shape
constexpr size_t length_bytes = 8;

/// One tensor as the header spells it.
struct Entry {
  std::string name, dtype;
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;  // within the data
};

class HeaderEvents : public JsonEvents {
 public:
  explicit HeaderEvents(std::string_view source) : source_(source) {}

  std::vector<Entry> entries;
  std::map<std::string, std::string> metadata;

  void begin_object(size_t position) override {
    if (place_ == Place::outside) {
      place_ = Place::header;
    } else if (place_ == Place::header) {
      place_ = name_ == "__metadata__" ? Place::metadata : Place::tensor;
      if (place_ == Place::tensor) begin_tensor();
    } else {
      refuse(position, place_ == Place::metadata ? "its values must be strings" : "an object is not expected here");
    }
  }

  void key(std::string& text, size_t position) override {
    if (place_ == Place::header)
      name_ = std::move(text);
    else if (place_ == Place::metadata)
      metadata_key_ = std::move(text);
    else
      begin_field(text, position);
  }

  void end_object() override {
    if (place_ == Place::tensor) end_tensor();
    place_ = place_ == Place::header ? Place::outside : Place::header;
  }

  void begin_array(size_t position) override {
    if (place_ == Place::metadata) refuse(position, "its values must be strings");
    if (place_ != Place::tensor) refuse(position, "it must be an object {dtype, shape, data_offsets}");
    if (field_ == Field::dtype) refuse(position, "its dtype must be a string");
    place_ = Place::list;
  }

  void end_array() override {
    place_ = Place::tensor;
    if (field_ == Field::offsets && offset_count_ != 2) refuse_offsets(fmt::format("{} numbers", offset_count_));
  }

  void value(Json&& scalar, size_t position) override {
    switch (place_) {
      case Place::outside:  // unreachable: the header begins with '{'
      case Place::header:
        refuse(position, "it must be an object {dtype, shape, data_offsets}");
      case Place::metadata:
        return add_metadata(scalar, position);
      case Place::tensor:
        return set_field(scalar, position);
      case Place::list:
        return field_ == Field::shape ? add_size(scalar, position) : add_offset(scalar);
    }
  }

 private:
  enum class Place { outside, header, metadata, tensor, list };
  enum class Field { dtype, shape, offsets };

  [[noreturn]] void refuse(size_t position, std::string_view rule) const {
    fail("{}: header entry {} is wrong at byte {} of the header: {}", source_, quoted(name_), position, rule);
  }
  [[noreturn]] void refuse_offsets(std::string_view found) const {
    fail("{}: data_offsets of tensor {} must be two unsigned integers; found {}", source_, quoted(name_), found);
  }

  void begin_tensor() {
    if (entries.size() == largest_tensor_count) {
      fail("{} has too many tensors (limit {})", source_, format_count(largest_tensor_count));
    }
    entries.push_back({});
    entries.back().name = name_;
    seen_ = {};
    offset_count_ = 0;
  }

  void begin_field(std::string_view text, size_t position) {
    constexpr std::array<std::string_view, 3> names{"dtype", "shape", "data_offsets"};
    const auto found = std::find(names.begin(), names.end(), text);
    if (found == names.end()) refuse(position, fmt::format("unknown key {}", quoted(text)));
    field_ = static_cast<Field>(found - names.begin());
    bool& seen = seen_[static_cast<size_t>(field_)];
    if (seen) refuse(position, fmt::format("duplicate key {}", quoted(text)));
    seen = true;
  }

  void end_tensor() const {
    constexpr std::array<std::string_view, 3> names{"dtype", "shape", "data_offsets"};
    for (size_t i = 0; i < names.size(); ++i) {
      if (!seen_[i]) fail("{}: tensor {} has no {}", source_, quoted(name_), names[i]);
    }
  }

  void set_field(Json& scalar, size_t position) {
    if (field_ == Field::shape) refuse(position, fmt::format("bad shape: expected an array, found {}", shown(scalar)));
    if (field_ == Field::offsets) refuse_offsets(shown(scalar));
    if (!scalar.is_string()) refuse(position, "its dtype must be a string");
    entries.back().dtype = std::move(scalar.get_ref<std::string&>());
  }

  void add_metadata(Json& scalar, size_t position) {
    if (!scalar.is_string()) refuse(position, fmt::format("its values must be strings, found {}", shown(scalar)));
    auto& text = scalar.get_ref<std::string&>();
    metadata_size_ += metadata_key_.size() + text.size();
    if (metadata_size_ > largest_metadata) refuse(position, "more than 16 MiB of metadata");
    const auto [place, is_new] = metadata.emplace(std::move(metadata_key_), std::move(text));
    if (!is_new) refuse(position, fmt::format("duplicate key {}", quoted(place->first)));
  }

  void add_size(const Json& scalar, size_t position) {
    if (!scalar.is_number_unsigned() || scalar.get<uint64_t>() > INT64_MAX) {
      refuse(position, fmt::format("bad shape: sizes must be unsigned 63-bit integers, found {}", shown(scalar)));
    }
    auto& shape = entries.back().shape;
    if (shape.size() == largest_rank) {
      refuse(position, fmt::format("bad shape: more than {} dimensions (rank > {})", largest_rank, largest_rank));
    }
    shape.push_back(scalar.get<int64_t>());
  }

  void add_offset(const Json& scalar) {
    if (!scalar.is_number_unsigned()) refuse_offsets(shown(scalar));
    if (offset_count_ == 2) refuse_offsets("more than two");
    (offset_count_++ == 0 ? entries.back().begin : entries.back().end) = scalar.get<uint64_t>();
  }

  static std::string shown(const Json& scalar) {
    return scalar.is_string() ? "the string " + quoted(scalar.get_ref<const std::string&>(), 40) : scalar.dump();
  }

  std::string_view source_;
  Place place_ = Place::outside;
  Field field_ = Field::dtype;
  std::string name_, metadata_key_;
  std::array<bool, 3> seen_{};
  size_t offset_count_ = 0;
  size_t metadata_size_ = 0;
};

void check_names(const std::vector<Entry>& entries, std::string_view source) {
  std::vector<std::string_view> names;
  names.reserve(entries.size());
  for (const Entry& entry : entries) names.push_back(entry.name);
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end()) fail("{}: the header has the duplicate key {}", source, quoted(*twice));
}

TensorInfo checked_info(Entry& entry, std::string_view source) {
  const auto dtype = find_dtype(entry.dtype);
  if (!dtype) {
    fail("{}: tensor {} has the unknown dtype {}; known are {}", source, quoted(entry.name), quoted(entry.dtype, 40),
         known_dtypes());
  }
  const uint64_t bytes = checked_tensor_bytes(entry.shape, dtype->bits, entry.name, source);
  if (entry.end < entry.begin) {
    fail("{}: data_offsets of tensor {} are [{}, {}]: the end is before the begin", source, quoted(entry.name),
         entry.begin, entry.end);
  }
  if (entry.end - entry.begin != bytes) {
    fail("{}: tensor {} of shape {} and dtype {} needs {} bytes, but its data_offsets [{}, {}] hold {}: a mismatch",
         source, quoted(entry.name), shape_text(entry.shape), entry.dtype, bytes, entry.begin, entry.end,
         entry.end - entry.begin);
  }
  return {std::move(entry.name), dtype->dtype, std::move(entry.dtype), std::move(entry.shape), bytes};
}

/// The data must be covered from 0 to the end of the file, once: no hole, no overlap, nothing behind.
void check_cover(const SafetensorsHeader& header, uint64_t data_begin, uint64_t file_size, std::string_view source) {
  uint64_t covered = data_begin;
  for (size_t i = 0; i < header.tensors.size(); ++i) {
    const TensorInfo& tensor = header.tensors[i];
    const uint64_t begin = header.offsets[i];
    if (begin < covered) {
      fail("{}: the data of tensor {} overlaps that of tensor {}", source, quoted(tensor.name),
           quoted(header.tensors[i - 1].name));
    }
    if (begin > covered) {
      fail("{}: there is a hole in the data before tensor {}: it begins at {}, expected {}", source,
           quoted(tensor.name), begin - data_begin, covered - data_begin);
    }
    covered += tensor.bytes;
  }
  if (covered > file_size) {
    fail("{} is truncated: expected {} bytes, found {}; download or copy it again", source, format_count(covered),
         format_count(file_size));
  }
  if (covered < file_size) {
    fail("{} is not fully covered by its tensors: expected {} bytes, found {} trailing bytes more", source,
         format_count(covered), format_count(file_size - covered));
  }
}

[[noreturn]] void refuse_file(const InputFile& file, std::string_view rule) {
  const std::string_view really = describe(content_kind(file.beginning(content_kind_bytes)));
  fail("{} is not a safetensors file: {}{}{}", quoted_path(file.path()), rule, really.empty() ? "" : "; it is ",
       really);
}

/// Reads and checks the length field, the only number that is followed before the JSON is checked.
uint64_t header_length(const InputFile& file) {
  if (file.size() < length_bytes) {
    refuse_file(file, fmt::format("it is shorter than 8 bytes ({} found)", file.size()));
  }
  std::array<std::byte, length_bytes> field;
  file.read_at(0, field);
  const auto length = std::bit_cast<uint64_t>(field);
  const uint64_t room = file.size() - length_bytes;
  if (length > largest_header) {
    const uint64_t swapped = __builtin_bswap64(length);
    const bool other_order = swapped <= largest_header && swapped <= room;
    refuse_file(file, fmt::format("the header is too large: {} bytes, at most {} are allowed{}", format_count(length),
                                  format_count(largest_header),
                                  other_order ? " (its byte order is big-endian, expected little-endian)" : ""));
  }
  if (length > room) {
    refuse_file(file, fmt::format("the header is longer than the file: {} bytes of header, {} in the file",
                                  format_count(length), format_count(file.size())));
  }
  return length;
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view text, uint64_t file_size, std::string_view source) {
  HeaderEvents events(source);
  read_json(text, fmt::format("the header of {}", source), {largest_header, header_depth}, events);
  auto& entries = events.entries;
  check_names(entries, source);

  // By place in the file; an empty tensor comes before the one that begins at the same byte.
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  SafetensorsHeader header;
  header.metadata = std::move(events.metadata);
  header.tensors.reserve(entries.size());
  header.offsets.reserve(entries.size());
  const uint64_t data_begin = length_bytes + text.size();
  for (Entry& entry : entries) {
    if (entry.begin > UINT64_MAX - data_begin || entry.end > UINT64_MAX - data_begin) {
      fail("{}: data_offsets of tensor {} overflow 64 bits: [{}, {}]", source, quoted(entry.name), entry.begin,
           entry.end);
    }
    header.offsets.push_back(data_begin + entry.begin);
    header.tensors.push_back(checked_info(entry, source));
  }
  check_cover(header, data_begin, file_size, source);
  return header;
}

SafetensorsHeader read_safetensors_header(const InputFile& file) {
  const uint64_t length = header_length(file);
  char first = 0;
  if (length > 0) file.read_at(length_bytes, std::as_writable_bytes(std::span(&first, 1)));
  if (first != '{') refuse_file(file, "its header must be an object, starting with '{'");
  std::string text(length, '\0');
  file.read_at(length_bytes, std::as_writable_bytes(std::span(text)));
  return parse_safetensors_header(text, file.size(), quoted_path(file.path()));
}

}  // namespace headscope
