// Element types, shapes and the table of tensors that both kinds of checkpoint share.
#include <algorithm>
#include <array>
#include <numeric>
#include <utility>

#include "core/base/error.h"
#include "core/base/text.h"
#include "core/io/checkpoint.h"

namespace headscope {
namespace {

struct DTypeRow {
  std::string_view spelling;
  DTypeSpelling meaning;
};

constexpr std::array dtype_rows{
    DTypeRow{"BOOL", {DType::boolean, 8}},
    DTypeRow{"F4", {DType::other, 4}},
    DTypeRow{"F6_E2M3", {DType::other, 6}},
    DTypeRow{"F6_E3M2", {DType::other, 6}},
    DTypeRow{"U8", {DType::u8, 8}},
    DTypeRow{"I8", {DType::i8, 8}},
    DTypeRow{"F8_E5M2", {DType::f8_e5m2, 8}},
    DTypeRow{"F8_E4M3", {DType::f8_e4m3, 8}},
    DTypeRow{"F8_E8M0", {DType::other, 8}},
    DTypeRow{"F8_E4M3FNUZ", {DType::other, 8}},
    DTypeRow{"F8_E5M2FNUZ", {DType::other, 8}},
    DTypeRow{"I16", {DType::i16, 16}},
    DTypeRow{"U16", {DType::u16, 16}},
    DTypeRow{"F16", {DType::f16, 16}},
    DTypeRow{"BF16", {DType::bf16, 16}},
    DTypeRow{"I32", {DType::i32, 32}},
    DTypeRow{"U32", {DType::u32, 32}},
    DTypeRow{"F32", {DType::f32, 32}},
    DTypeRow{"C64", {DType::other, 64}},
    DTypeRow{"F64", {DType::f64, 64}},
    DTypeRow{"I64", {DType::i64, 64}},
    DTypeRow{"U64", {DType::u64, 64}},
};

const DTypeRow* row_of(DType dtype) {
  if (dtype == DType::other) return nullptr;
  const auto same = [dtype](const DTypeRow& row) { return row.meaning.dtype == dtype; };
  return std::find_if(dtype_rows.begin(), dtype_rows.end(), same);
}

}  // namespace

std::string_view dtype_name(DType dtype) {
  const DTypeRow* row = row_of(dtype);
  return row ? row->spelling : "other";
}

size_t dtype_bytes(DType dtype) {
  const DTypeRow* row = row_of(dtype);
  return row ? row->meaning.bits / 8 : 0;
}

std::optional<DTypeSpelling> find_dtype(std::string_view spelling) {
  for (const DTypeRow& row : dtype_rows) {
    if (row.spelling == spelling) return row.meaning;
  }
  return std::nullopt;
}

std::string known_dtypes() {
  std::vector<std::string_view> names;
  for (const DTypeRow& row : dtype_rows) names.push_back(row.spelling);
  return listed(names, names.size());
}

int64_t TensorInfo::elements() const {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

std::string shape_text(std::span<const int64_t> shape) { return fmt::format("[{}]", listed(shape, 32)); }

uint64_t checked_tensor_bytes(std::span<const int64_t> shape, unsigned bits, std::string_view name,
                              std::string_view source) {
  if (shape.size() > largest_rank) {
    fail("{}: tensor {} has {} dimensions; at most {} are supported (rank > {})", source, quoted(name), shape.size(),
         largest_rank, largest_rank);
  }
  // Sizes of 0 are left out of the product: [0, 2^62, 4] is refused as [2^62, 4] is, in whatever order.
  int64_t nonzero = 1;
  for (const int64_t size : shape) {
    if (size < 0) fail("{}: tensor {} has a bad shape {}: a size is negative", source, quoted(name), shape_text(shape));
    if (size != 0 && __builtin_mul_overflow(nonzero, size, &nonzero)) {
      fail("{}: the shape {} of tensor {} overflows 64 bits", source, shape_text(shape), quoted(name));
    }
  }
  int64_t total_bits = 0;
  if (__builtin_mul_overflow(nonzero, static_cast<int64_t>(bits), &total_bits)) {
    fail("{}: the shape {} of tensor {} overflows 64 bits", source, shape_text(shape), quoted(name));
  }
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return 0;
  if (total_bits % 8 != 0) {
    fail("{}: tensor {} of shape {} with {} bits per element does not fill whole bytes", source, quoted(name),
         shape_text(shape), bits);
  }
  return static_cast<uint64_t>(total_bits) / 8;
}

TensorTable::TensorTable(std::vector<TensorInfo> tensors, std::string_view source) : tensors_(std::move(tensors)) {
  by_name_.resize(tensors_.size());
  std::iota(by_name_.begin(), by_name_.end(), 0u);
  const auto name = [this](uint32_t index) -> std::string_view { return tensors_[index].name; };
  std::sort(by_name_.begin(), by_name_.end(), [&](uint32_t a, uint32_t b) { return name(a) < name(b); });
  const auto same = [&](uint32_t a, uint32_t b) { return name(a) == name(b); };
  const auto twice = std::adjacent_find(by_name_.begin(), by_name_.end(), same);
  if (twice != by_name_.end()) fail("{} has two tensors named {} (duplicate key)", source, quoted(name(*twice)));
}

std::optional<size_t> TensorTable::find(std::string_view name) const {
  const auto less = [this](uint32_t index, std::string_view wanted) { return tensors_[index].name < wanted; };
  const auto place = std::lower_bound(by_name_.begin(), by_name_.end(), name, less);
  if (place == by_name_.end() || tensors_[*place].name != name) return std::nullopt;
  return *place;
}

void require_readable_as_f32(const TensorInfo& info, size_t out_size, std::string_view source) {
  if (info.dtype != DType::f32 && info.dtype != DType::f16 && info.dtype != DType::bf16) {
    fail("{}: tensor {} has dtype {}, which is not supported as a weight; expected F32, F16 or BF16", source,
         quoted(info.name), quoted(info.dtype_text));
  }
  if (out_size != static_cast<size_t>(info.elements())) {
    fail("{}: tensor {} has {} elements, but {} were asked for", source, quoted(info.name),
         format_count(static_cast<uint64_t>(info.elements())), format_count(out_size));
  }
}

const TensorInfo* Checkpoint::find(std::string_view name) const {
  const auto all = tensors();
  const auto same = [name](const TensorInfo& tensor) { return tensor.name == name; };
  const auto found = std::find_if(all.begin(), all.end(), same);
  return found == all.end() ? nullptr : &*found;
}

}  // namespace headscope
