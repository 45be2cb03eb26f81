#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/atomic_file.h"
#include "core/base/file.h"
#include "core/base/progress.h"
#include "core/io/checkpoint.h"

namespace headscope {

/// What a safetensors file holds (https://github.com/huggingface/safetensors, "Format"): 8 bytes of little-endian
/// header length, a JSON header, the data.
struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;  ///< in the order of their data
  std::vector<uint64_t> offsets;    ///< where each tensor's data begins, in bytes from the start of the file
  std::map<std::string, std::string> metadata;
};

/// Reads and checks the header: every rule of the format, before anything is allocated by the file's own numbers.
/// At most 100,000,000 bytes, 1,000,000 tensors, 8 dimensions and 16 MiB of metadata. Throws Error naming the
/// file, the tensor, the rule, what was expected and found, and what the file really is if it is something else.
SafetensorsHeader read_safetensors_header(const InputFile& file);

/// The same for a header already in memory that belongs to a file of `file_size` bytes.
SafetensorsHeader parse_safetensors_header(std::string_view header, uint64_t file_size, std::string_view source);

/// Reads one tensor's bytes from `offset`. `out` has info.bytes bytes. Stops between blocks when asked to.
void read_tensor_raw(const InputFile& file, uint64_t offset, const TensorInfo& info, std::span<std::byte> out,
                     const Progress& progress);

/// Reads one f32, f16 or bf16 tensor as f32, converting block by block; refuses other types by name.
void read_tensor_f32(const InputFile& file, uint64_t offset, const TensorInfo& info, std::span<float> out,
                     const Progress& progress);

/// Writes a safetensors file that appears whole or not at all. The tensors are announced first (name, dtype_text
/// and shape count); then their bytes are appended in that order, in pieces of any size.
class SafetensorsWriter {
 public:
  SafetensorsWriter(const std::filesystem::path& target, std::span<const TensorInfo> tensors,
                    const std::map<std::string, std::string>& metadata = {});

  void append(std::span<const std::byte> bytes);
  /// Throws if fewer or more bytes came than were announced; else the file is in place afterwards.
  void finish();

 private:
  AtomicFile file_;
  OutputFile out_;
  uint64_t expected_ = 0;
};

}  // namespace headscope
