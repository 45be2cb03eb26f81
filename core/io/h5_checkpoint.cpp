#include "core/io/h5_checkpoint.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/base/crc32.h"
#include "core/base/error.h"
#include "core/base/text.h"
#include "core/io/float_convert.h"
#include "core/io/h5_layout.h"
#include "core/io/hdf5.h"
#include "core/io/limits.h"
#include "core/io/trial_run.h"

namespace headscope {
namespace {

constexpr uint64_t block_bytes = 4u << 20;  // between two looks at the stop token

void require_crc(const Hdf5Reader& file, const std::string& object, uint32_t found) {
  if (!file.has_attribute(object, "crc32")) return;
  if (const int64_t expected = file.int_attribute(object, "crc32"); expected != found) {
    fail("{}: {} is damaged: its CRC-32 is {:08x}, expected {:08x}; copy or write the file again",
         quoted_path(file.path()), quoted(object), found, expected);
  }
}

/// Reads a whole dataset block by block, checking its CRC if it has one. `crc` is that of what precedes the data.
void read_checked(const Hdf5Reader& file, const std::string& object, uint32_t crc, std::span<std::byte> out,
                  const Progress& progress) {
  const Hdf5DatasetReader dataset = file.dataset(object);
  const uint64_t rows = dataset.rows(), row_bytes = rows ? dataset.bytes() / rows : 0;
  const uint64_t step = std::max<uint64_t>(1, block_bytes / std::max<uint64_t>(1, row_bytes));
  for (uint64_t begin = 0; begin < rows && row_bytes > 0; begin += step) {
    progress.step("reading", static_cast<double>(begin) / static_cast<double>(rows));
    const uint64_t count = std::min(step, rows - begin);
    const auto part = out.subspan(begin * row_bytes, count * row_bytes);
    dataset.read_rows(begin, count, part);
    crc = crc32(part, crc);
  }
  file.require_complete();
  require_crc(file, object, crc);
}

std::string read_text(const Hdf5Reader& file, const std::string& object, uint64_t limit) {
  const Hdf5DatasetReader dataset = file.dataset(object);
  if (dataset.dtype() != DType::u8 || dataset.shape().size() != 1) {
    fail("{}: {} must be a list of u8; found {} {}", quoted_path(file.path()), quoted(object),
         dtype_name(dataset.dtype()), shape_text(dataset.shape()));
  }
  if (dataset.bytes() > limit) {
    fail("{}: {} is too large: {} found, at most {} expected", quoted_path(file.path()), quoted(object),
         format_bytes(dataset.bytes()), format_bytes(limit));
  }
  std::string text(dataset.bytes(), '\0');
  read_checked(file, object, 0, std::as_writable_bytes(std::span(text)), {});
  return text;
}

void require_checkpoint(const Hdf5Reader& file) {
  const std::string source = quoted_path(file.path());
  if (!file.has_attribute("/", "format")) {
    fail("{} is an HDF5 file, but not a HeadScope checkpoint: the root attribute format = 'headscope' is missing{}",
         source, file.has("/tokens") ? "; it looks like the output of `headscope run`" : "");
  }
  if (const std::string format = file.text_attribute("/", "format"); format != "headscope") {
    fail("{} is not a HeadScope checkpoint: its format is {}, expected \"headscope\"", source, quoted(format));
  }
  if (!file.has_attribute("/", "format_version")) fail("{} has no attribute format_version; expected 1", source);
  if (const int64_t version = file.int_attribute("/", "format_version"); version != h5_checkpoint_version) {
    fail("{} has format version {}; this program supports version {}{}", source, version, h5_checkpoint_version,
         version > h5_checkpoint_version ? ": use a newer HeadScope" : "");
  }
}

class H5Checkpoint : public Checkpoint {
 public:
  explicit H5Checkpoint(const std::filesystem::path& path) : file_(path) {
    require_checkpoint(file_);
    const std::string source = fmt::format("/config in {}", quoted_path(path));
    config_text_ = read_text(file_, "/config", largest_config);
    config_ = parse_json(config_text_, source, {largest_config});
    if (!config_.is_object()) fail("{} must hold a JSON object; found {}", source, config_.type_name());
    read_tokenizer();
    list_tensors();
  }

  const std::filesystem::path& path() const override { return file_.path(); }
  std::string format() const override { return "h5"; }
  const std::string& config_text() const override { return config_text_; }
  const Json& config() const override { return config_; }
  const TokenizerFiles& tokenizer() const override { return tokenizer_; }
  std::span<const TensorInfo> tensors() const override { return table_.all(); }
  const TensorInfo* find(std::string_view name) const override {
    const auto index = table_.find(name);
    return index ? &table_.all()[*index] : nullptr;
  }
  std::span<const std::string> notes() const override { return notes_; }

  void read_f32(const TensorInfo& info, std::span<float> out, const Progress& progress) override {
    require_readable_as_f32(info, out.size(), quoted_path(path()));
    const auto bytes = std::as_writable_bytes(out);
    // 16-bit values are read into the rear half and widened from the front: element i is written to bytes [4i, 4i+4),
    // never past the next one to be read, at 2n + 2(i+1).
    const auto stored = bytes.last(info.bytes);
    read_raw(info, stored, progress);
    if (info.dtype == DType::f32) return;
    const bool is_bf16 = info.dtype == DType::bf16;
    for (size_t i = 0; i < out.size(); ++i) {
      uint16_t half;
      std::memcpy(&half, stored.data() + 2 * i, sizeof half);
      const float value = is_bf16 ? bf16_to_f32(half) : f16_to_f32(half);
      std::memcpy(bytes.data() + 4 * i, &value, sizeof value);
    }
  }

  void read_raw(const TensorInfo& info, std::span<std::byte> out, const Progress& progress) override {
    const auto index = table_.find(info.name);
    if (!index) fail("{} has no tensor {}", quoted_path(path()), quoted(info.name));
    const TensorInfo& own = table_.all()[*index];
    if (out.size() != own.bytes) {
      fail("{}: tensor {} has {} bytes, but {} were asked for", quoted_path(path()), quoted(info.name),
           format_count(own.bytes), format_count(out.size()));
    }
    read_checked(file_, objects_[*index], h5_tensor_crc_begin(own), out, progress);
  }

 private:
  void read_tokenizer() {
    const auto read = [this](const char* object) -> std::optional<std::string> {
      if (!file_.has(object)) return std::nullopt;
      return read_text(file_, object, largest_tokenizer);
    };
    tokenizer_.tokenizer_json = read("/tokenizer");
    tokenizer_.vocab_json = read("/tokenizer_vocab");
    tokenizer_.merges_txt = read("/tokenizer_merges");
    tokenizer_.config_json = read("/tokenizer_config");
    if (tokenizer_.empty()) notes_.push_back("no tokenizer found: token ids can still be given");
  }

  void list_tensors() {
    std::vector<TensorInfo> tensors;
    for (const std::string& name : file_.names("/tensors")) {
      objects_.push_back("/tensors/" + name);
      tensors.push_back(h5_tensor_info(file_, objects_.back()));
    }
    require_crc(file_, "/tensors", h5_list_crc(tensors));
    table_ = TensorTable(std::move(tensors), quoted_path(path()));
  }

  Hdf5Reader file_;
  std::string config_text_;
  Json config_;
  TokenizerFiles tokenizer_;
  TensorTable table_;
  std::vector<std::string> objects_;  // the dataset of each tensor of the table
  std::vector<std::string> notes_;
};

}  // namespace

std::unique_ptr<Checkpoint> open_h5_checkpoint(const std::filesystem::path& file) {
  // libhdf5 1.10.8 crashes or loops on some damage (of variable-length text, for one). Opening reads everything but
  // the tensors' data, so what survives it once is safe.
  constexpr TrialLimits limits{.cpu_seconds = 3, .total_seconds = 30};  // enough for some 50,000 tensors
  switch (trial_run([&] { H5Checkpoint trial(file); }, limits)) {
    case TrialEnd::crashed:
      fail("{} is damaged: the HDF5 library cannot read it; copy or write the file again", quoted_path(file));
    case TrialEnd::too_slow:
      fail("{} took more than {} seconds to open; try again, or copy the file to a faster disk", quoted_path(file),
           limits.total_seconds);
    case TrialEnd::survived:
      break;
  }
  return std::make_unique<H5Checkpoint>(file);
}

}  // namespace headscope
