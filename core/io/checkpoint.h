#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/progress.h"
#include "core/io/json.h"

namespace headscope {

/// Element types of the safetensors format. All can be listed; only the float types f32, f16 and bf16 can be
/// read as numbers.
enum class DType { f64, f32, f16, bf16, f8_e4m3, f8_e5m2, i64, i32, i16, i8, u64, u32, u16, u8, boolean, other };

std::string_view dtype_name(DType);  ///< safetensors spelling: "F32", "BF16", ...
size_t dtype_bytes(DType);           ///< bytes of one element; 0 for `other`

struct TensorInfo {
  std::string name;
  DType dtype = DType::f32;
  std::string dtype_text;  ///< as the file spells it
  std::vector<int64_t> shape;
  uint64_t bytes = 0;

  int64_t elements() const;  ///< product of the shape; 1 for a scalar
};

/// "[50257, 768]"
std::string shape_text(std::span<const int64_t> shape);

/// The text files of a tokenizer, as found.
struct TokenizerFiles {
  std::optional<std::string> tokenizer_json;
  std::optional<std::string> vocab_json, merges_txt;  ///< the older pair, used when tokenizer.json is absent
  bool empty() const { return !tokenizer_json && !(vocab_json && merges_txt); }
};

/// An opened checkpoint: a Hugging Face folder or a HeadScope .h5 file. Opening reads and checks headers only;
/// tensor data is read on request. Not thread-safe. All failures throw Error.
class Checkpoint {
 public:
  virtual ~Checkpoint() = default;

  virtual const std::filesystem::path& path() const = 0;
  virtual std::string format() const = 0;  ///< "safetensors", "safetensors, 3 shards" or "h5"
  virtual const std::string& config_text() const = 0;
  virtual const Json& config() const = 0;
  virtual const TokenizerFiles& tokenizer() const = 0;
  /// Every tensor, in file order.
  virtual std::span<const TensorInfo> tensors() const = 0;
  const TensorInfo* find(std::string_view name) const;
  /// Things a user should know: "pytorch_model.bin is ignored", "custom code is never run", ...
  virtual std::span<const std::string> notes() const = 0;

  /// Reads one tensor as f32, converting exactly from f16 or bf16, straight into `out`
  /// (size = elements()). Refuses other types by name.
  virtual void read_f32(const TensorInfo&, std::span<float> out, const Progress& = {}) = 0;
  /// Reads the stored bytes unchanged (size = bytes).
  virtual void read_raw(const TensorInfo&, std::span<std::byte> out, const Progress& = {}) = 0;
};

/// Opens a folder or .h5 file. `demo:` names are not handled here.
std::unique_ptr<Checkpoint> open_checkpoint(const std::filesystem::path&);

/// Writes every tensor, the config and the tokenizer into a native .h5 file, atomically (design.md 7).
void pack_checkpoint(Checkpoint&, const std::filesystem::path& h5_file, const Progress&);

/// Writes the same as a folder: config.json, model.safetensors, tokenizer files. The folder must not exist or
/// be empty; it is complete or absent afterwards.
void unpack_checkpoint(Checkpoint&, const std::filesystem::path& folder, const Progress&);

}  // namespace headscope
