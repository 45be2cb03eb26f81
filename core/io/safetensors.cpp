#include "core/io/safetensors.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "core/base/error.h"
#include "core/base/text.h"
#include "core/io/float_convert.h"

namespace headscope {
namespace {

constexpr size_t block_bytes = 4u << 20;   // between two looks at the stop token
constexpr size_t half_block = 256u << 10;  // elements of a 16-bit block: it stays in the cache while converted
constexpr size_t header_alignment = 8;     // of the data, as the format's own writer does

void read_halves(const InputFile& file, uint64_t offset, const TensorInfo& info, std::span<float> out,
                 const Progress& progress) {
  std::vector<uint16_t> block(std::min(out.size(), half_block));
  for (size_t done = 0; done < out.size();) {
    progress.step("reading", static_cast<double>(done) / static_cast<double>(out.size()));
    const std::span part = std::span(block).first(std::min(out.size() - done, half_block));
    file.read_at(offset + 2 * done, std::as_writable_bytes(part));
    const std::span to = out.subspan(done, part.size());
    if (info.dtype == DType::bf16)
      bf16_to_f32(part, to);
    else
      f16_to_f32(part, to);
    done += part.size();
  }
}

/// The header as JSON, padded with spaces to a multiple of 8 bytes; `data_bytes` becomes the size of the data.
std::string header_text(std::span<const TensorInfo> tensors, const std::map<std::string, std::string>& metadata,
                        uint64_t& data_bytes) {
  std::string text = "{";
  if (!metadata.empty()) text += "\"__metadata__\":" + Json(metadata).dump() + ',';
  for (const TensorInfo& tensor : tensors) {
    const auto dtype = find_dtype(tensor.dtype_text);
    if (!dtype) fail("cannot write tensor {}: unknown dtype {}", quoted(tensor.name), quoted(tensor.dtype_text));
    const uint64_t end =
        data_bytes + checked_tensor_bytes(tensor.shape, dtype->bits, tensor.name, "the file to be written");
    text += fmt::format("{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}},", Json(tensor.name).dump(),
                        tensor.dtype_text, listed(tensor.shape), data_bytes, end);
    data_bytes = end;
  }
  if (text.back() == ',') text.pop_back();
  text += '}';
  text.append((header_alignment - text.size() % header_alignment) % header_alignment, ' ');
  return text;
}

}  // namespace

void read_tensor_raw(const InputFile& file, uint64_t offset, const TensorInfo& info, std::span<std::byte> out,
                     const Progress& progress) {
  if (out.size() != info.bytes) {
    fail("{}: tensor {} has {} bytes, but {} were asked for", quoted_path(file.path()), quoted(info.name),
         format_count(info.bytes), format_count(out.size()));
  }
  for (size_t done = 0; done < out.size();) {
    progress.step("reading", static_cast<double>(done) / static_cast<double>(out.size()));
    const size_t count = std::min(out.size() - done, block_bytes);
    file.read_at(offset + done, out.subspan(done, count));
    done += count;
  }
}

void read_tensor_f32(const InputFile& file, uint64_t offset, const TensorInfo& info, std::span<float> out,
                     const Progress& progress) {
  require_readable_as_f32(info, out.size(), quoted_path(file.path()));
  if (info.dtype == DType::f32)
    read_tensor_raw(file, offset, info, std::as_writable_bytes(out), progress);
  else
    read_halves(file, offset, info, out, progress);
}

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& target, std::span<const TensorInfo> tensors,
                                     const std::map<std::string, std::string>& metadata)
    : file_(target), out_(file_.temporary()) {
  const std::string header = header_text(tensors, metadata, expected_);
  const uint64_t length = header.size();
  out_.write(std::as_bytes(std::span(&length, 1)));
  out_.write(header);
  expected_ += out_.written();
}

void SafetensorsWriter::append(std::span<const std::byte> bytes) { out_.write(bytes); }

void SafetensorsWriter::finish() {
  if (out_.written() != expected_) {
    fail("{} was not completed: {} bytes announced, {} written", quoted_path(file_.temporary()), expected_,
         out_.written());
  }
  out_.close();
  file_.commit();
}

}  // namespace headscope
