// Checkpoints written: as a native .h5 file, and as a Hugging Face folder.
#include <algorithm>
#include <utility>

#include "core/base/atomic_file.h"
#include "core/base/atomic_folder.h"
#include "core/base/crc32.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/io/checkpoint.h"
#include "core/io/h5_checkpoint.h"
#include "core/io/h5_layout.h"
#include "core/io/hdf5.h"
#include "core/io/safetensors.h"

namespace headscope {
namespace {

namespace fs = std::filesystem;

/// Reads every tensor in turn, one buffer for all, and says how far it is.
template <class Use>
void for_each_tensor(Checkpoint& from, std::string_view stage, const Progress& progress, Use use) {
  uint64_t total = 0, largest = 0, done = 0;
  for (const TensorInfo& tensor : from.tensors()) {
    total += tensor.bytes;
    largest = std::max(largest, tensor.bytes);
  }
  std::vector<std::byte> buffer(largest);
  for (const TensorInfo& tensor : from.tensors()) {
    progress.step(stage, total ? static_cast<double>(done) / static_cast<double>(total) : 0.0);
    const auto bytes = std::span(buffer).first(tensor.bytes);
    from.read_raw(tensor, bytes, Progress{progress.stop, {}});
    use(tensor, bytes);
    done += tensor.bytes;
  }
  progress.step(stage, 1.0);
}

void write_text(Hdf5Writer& to, const char* object, const std::string& text) {
  to.dataset(object, std::vector<uint8_t>(text.begin(), text.end()));
  to.attribute(object, "crc32", int64_t{crc32(std::as_bytes(std::span(text)))});
}

void write_tensor(Hdf5Writer& to, size_t number, const TensorInfo& tensor, std::span<const std::byte> bytes) {
  const std::string object = fmt::format("/tensors/{:06}", number);
  const H5Storage storage = h5_storage(tensor);
  const std::vector<uint64_t> shape(storage.shape.begin(), storage.shape.end());
  to.create(object, storage.dtype, shape).write_rows(0, shape.empty() ? 1 : shape[0], bytes);
  to.attribute(object, "name", tensor.name);
  to.attribute(object, "dtype", tensor.dtype_text);
  if (tensor.dtype == DType::other) to.attribute(object, "shape", tensor.shape);
  to.attribute(object, "crc32", int64_t{crc32(bytes, h5_tensor_crc_begin(tensor))});
}

}  // namespace

void pack_checkpoint(Checkpoint& from, const fs::path& h5_file, const Progress& progress) {
  Hdf5Writer to(h5_file);
  to.attribute("/", "format", "headscope");
  to.attribute("/", "format_version", h5_checkpoint_version);
  write_text(to, "/config", from.config_text());
  const TokenizerFiles& tokenizer = from.tokenizer();
  if (tokenizer.tokenizer_json) write_text(to, "/tokenizer", *tokenizer.tokenizer_json);
  if (tokenizer.vocab_json) write_text(to, "/tokenizer_vocab", *tokenizer.vocab_json);
  if (tokenizer.merges_txt) write_text(to, "/tokenizer_merges", *tokenizer.merges_txt);
  if (tokenizer.config_json) write_text(to, "/tokenizer_config", *tokenizer.config_json);
  to.group("/tensors");
  size_t number = 0;
  for_each_tensor(from, "packing", progress, [&](const TensorInfo& tensor, std::span<const std::byte> bytes) {
    write_tensor(to, number++, tensor, bytes);
  });
  to.attribute("/tensors", "crc32", int64_t{h5_list_crc(from.tensors())});
  to.finish();
}

void unpack_checkpoint(Checkpoint& from, const fs::path& folder, const Progress& progress) {
  AtomicFolder to(folder);
  const auto write = [&](const char* name, const std::optional<std::string>& text) {
    if (text) write_file_atomically(to.temporary() / name, *text);
  };
  write("config.json", from.config_text());
  write("tokenizer.json", from.tokenizer().tokenizer_json);
  write("vocab.json", from.tokenizer().vocab_json);
  write("merges.txt", from.tokenizer().merges_txt);
  write("tokenizer_config.json", from.tokenizer().config_json);
  // transformers refuses a file that does not name the framework it is for.
  SafetensorsWriter weights(to.temporary() / "model.safetensors", from.tensors(), {{"format", "pt"}});
  for_each_tensor(from, "unpacking", progress,
                  [&](const TensorInfo&, std::span<const std::byte> bytes) { weights.append(bytes); });
  weights.finish();
  to.commit();
}

}  // namespace headscope
