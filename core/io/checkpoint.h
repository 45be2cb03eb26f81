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

std::string_view dtype_name(DType);  ///< safetensors spelling: "F32", "BF16", ...; "other"
size_t dtype_bytes(DType);           ///< bytes of one element; 0 for `other`

/// A type of the safetensors format by its spelling. `other` are those that can only be listed and copied ("C64",
/// "F4", ...); a spelling the format does not have gives nothing.
struct DTypeSpelling {
  DType dtype;
  unsigned bits;  ///< of one element
};
std::optional<DTypeSpelling> find_dtype(std::string_view spelling);
std::string known_dtypes();  ///< "BOOL, F4, ...", for messages

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

/// More dimensions, or more elements than this, are refused when a file is opened.
inline constexpr size_t largest_rank = 8;

/// Bytes of a tensor of `bits` per element. Throws, naming `source` and the tensor, for a negative size, too many
/// dimensions, a product beyond 2^63 bytes or one that does not fill whole bytes.
uint64_t checked_tensor_bytes(std::span<const int64_t> shape, unsigned bits, std::string_view name,
                              std::string_view source);

/// Tensors in file order, found by name in logarithmic time.
class TensorTable {
 public:
  TensorTable() = default;
  /// Throws Error naming `source` if two tensors have one name.
  TensorTable(std::vector<TensorInfo> tensors, std::string_view source);

  std::span<const TensorInfo> all() const { return tensors_; }
  /// Index of the tensor of that name.
  std::optional<size_t> find(std::string_view name) const;

 private:
  std::vector<TensorInfo> tensors_;
  std::vector<uint32_t> by_name_;
};

/// Throws unless `info` is f32, f16 or bf16 and `out_size` is its element count.
void require_readable_as_f32(const TensorInfo& info, size_t out_size, std::string_view source);

/// The text files of a tokenizer, as found.
struct TokenizerFiles {
  std::optional<std::string> tokenizer_json;
  std::optional<std::string> vocab_json, merges_txt;  ///< the older pair, used when tokenizer.json is absent
  std::optional<std::string> config_json;             ///< tokenizer_config.json of the pair: what it adds to a text
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
  /// The tensor of that name; null if there is none.
  virtual const TensorInfo* find(std::string_view name) const;
  /// Things a user should know: "pytorch_model.bin is ignored", "custom code is never run", ...
  virtual std::span<const std::string> notes() const = 0;

  /// Reads one tensor as f32, converting exactly from f16 or bf16, straight into `out`
  /// (size = elements()). Refuses other types by name. Progress tells how much of the tensor is read.
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
