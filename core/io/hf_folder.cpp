#include "core/io/hf_folder.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <optional>
#include <system_error>
#include <utility>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/text.h"
#include "core/io/content_kind.h"
#include "core/io/limits.h"
#include "core/io/safetensors.h"
#include "core/io/shard_index.h"

namespace headscope {
namespace {

namespace fs = std::filesystem;

constexpr std::array pickle_names{"pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt", "model.pth",
                                  "consolidated.00.pth"};

/// Whether the folder has an entry of that name, of whatever kind: a broken link is an entry, and an error later.
bool has_entry(const fs::path& folder, const char* name) {
  struct stat status {};
  return lstat((folder / name).c_str(), &status) == 0;
}

/// The first Python file among the entries, or "".
std::string python_file(const fs::path& folder) {
  std::error_code ignored;
  std::string first;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(".py") && (first.empty() || name < first)) first = name;
  }
  return first;
}

struct Location {
  size_t file;
  uint64_t offset;
};

class HfFolder : public Checkpoint {
 public:
  explicit HfFolder(fs::path folder) : path_(std::move(folder)) {
    read_config();
    open_weights();
    read_tokenizer();
    for (const char* name : pickle_names) {
      if (has_entry(path_, name)) notes_.push_back(fmt::format("{} is ignored: only safetensors are read", name));
    }
  }

  const fs::path& path() const override { return path_; }
  std::string format() const override {
    return files_.size() == 1 && !sharded_ ? "safetensors" : fmt::format("safetensors, {} shards", files_.size());
  }
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
    const auto [file, offset] = location_of(info);
    read_tensor_f32(files_[file], offset, info, out, progress);
  }
  void read_raw(const TensorInfo& info, std::span<std::byte> out, const Progress& progress) override {
    const auto [file, offset] = location_of(info);
    read_tensor_raw(files_[file], offset, info, out, progress);
  }

 private:
  void read_config();
  void read_tokenizer();
  void open_weights();
  void open_shards();
  void open_file(const std::string& name, std::vector<TensorInfo>& tensors);
  void refuse_repeated_tensors(const std::vector<TensorInfo>& tensors) const;
  void compare_with_index(const ShardIndex& index);
  [[noreturn]] void refuse_without_weights() const;

  std::string file_name(size_t file) const { return quoted(files_[file].path().filename().native()); }

  Location location_of(const TensorInfo& info) const {
    const auto index = table_.find(info.name);
    if (!index) fail("{} has no tensor {}", quoted_path(path_), quoted(info.name));
    return locations_[*index];
  }

  fs::path path_;
  std::string config_text_;
  Json config_;
  TokenizerFiles tokenizer_;
  bool sharded_ = false;
  std::vector<InputFile> files_;
  TensorTable table_;
  std::vector<Location> locations_;  // of the tensors in the table's order
  std::vector<std::string> notes_;
};

void HfFolder::read_config() {
  const fs::path file = path_ / "config.json";
  if (!has_entry(path_, "config.json")) {
    std::error_code ignored;
    const bool empty = fs::is_empty(path_, ignored);
    fail("{} {}; expected a Hugging Face model folder: config.json, *.safetensors and tokenizer.json",
         quoted_path(path_), empty ? "is an empty folder" : "has no config.json");
  }
  config_text_ = read_small_file(file, largest_config);
  config_ = parse_json(config_text_, quoted_path(file), {largest_config});
  if (!config_.is_object()) fail("{} must hold a JSON object; found {}", quoted_path(file), config_.type_name());
  if (config_.contains("auto_map")) {
    notes_.push_back("config.json names custom code (auto_map): custom code is never run");
  } else if (const std::string code = python_file(path_); !code.empty()) {
    notes_.push_back(fmt::format("the folder holds custom code ({}): custom code is never run", quoted(code)));
  }
}

void HfFolder::read_tokenizer() {
  const auto read = [this](const char* name) -> std::optional<std::string> {
    if (!has_entry(path_, name)) return std::nullopt;
    return read_small_file(path_ / name, largest_tokenizer);
  };
  tokenizer_.tokenizer_json = read("tokenizer.json");
  if (tokenizer_.tokenizer_json) return;
  tokenizer_.vocab_json = read("vocab.json");
  tokenizer_.merges_txt = read("merges.txt");
  if (!tokenizer_.empty()) tokenizer_.config_json = read("tokenizer_config.json");
  if (tokenizer_.vocab_json && !tokenizer_.merges_txt) notes_.push_back("vocab.json is ignored without merges.txt");
  if (tokenizer_.merges_txt && !tokenizer_.vocab_json) notes_.push_back("merges.txt is ignored without vocab.json");
  if (tokenizer_.empty()) notes_.push_back("no tokenizer found: token ids can still be given");
}

void HfFolder::open_file(const std::string& name, std::vector<TensorInfo>& tensors) {
  const size_t number = files_.size();
  files_.emplace_back(path_ / name);
  SafetensorsHeader header = read_safetensors_header(files_.back());
  for (const uint64_t offset : header.offsets) locations_.push_back({number, offset});
  std::move(header.tensors.begin(), header.tensors.end(), std::back_inserter(tensors));
}

void HfFolder::open_weights() {
  const bool single = has_entry(path_, "model.safetensors");
  const bool index = has_entry(path_, "model.safetensors.index.json");
  if (!single && !index) refuse_without_weights();
  if (!single) return open_shards();
  if (index) notes_.push_back("model.safetensors is used; model.safetensors.index.json is ignored");
  std::vector<TensorInfo> tensors;
  open_file("model.safetensors", tensors);
  table_ = TensorTable(std::move(tensors), quoted_path(path_ / "model.safetensors"));
}

void HfFolder::open_shards() {
  const fs::path index_file = path_ / "model.safetensors.index.json";
  const ShardIndex index = read_shard_index(index_file);
  sharded_ = true;

  std::vector<std::string> missing;
  for (const std::string& shard : index.shards) {
    if (!has_entry(path_, shard.c_str())) missing.push_back(quoted(shard));
  }
  if (!missing.empty()) {
    fail("{} names {} missing from the folder: {}; download the folder again", quoted_path(index_file),
         missing.size() == 1 ? "a shard that is" : "shards that are", listed(missing));
  }
  std::vector<TensorInfo> tensors;
  for (const std::string& shard : index.shards) open_file(shard, tensors);
  refuse_repeated_tensors(tensors);
  table_ = TensorTable(std::move(tensors), quoted_path(path_));
  compare_with_index(index);
}

void HfFolder::refuse_repeated_tensors(const std::vector<TensorInfo>& tensors) const {
  std::map<std::string_view, size_t> file_of;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const auto [place, is_new] = file_of.emplace(tensors[i].name, locations_[i].file);
    if (is_new) continue;
    fail("{}: tensor {} is in two shards: {} and {}", quoted_path(path_), quoted(tensors[i].name),
         file_name(place->second), file_name(locations_[i].file));
  }
}

/// Every tensor of the index must be in the shard that it names; the rest of a difference is only noted.
void HfFolder::compare_with_index(const ShardIndex& index) {
  for (const auto& [tensor, shard] : index.shard_of) {
    const auto found = table_.find(tensor);
    if (!found || files_[locations_[*found].file].path().filename() != shard) {
      fail("{}: shard {} lacks the tensor {} that the index expects there", quoted_path(path_), quoted(shard),
           quoted(tensor));
    }
  }
  const size_t unlisted = table_.all().size() - index.shard_of.size();
  if (unlisted > 0) notes_.push_back(fmt::format("the shards hold {} tensors that the index does not name", unlisted));
  uint64_t bytes = 0;
  for (const TensorInfo& tensor : table_.all()) bytes += tensor.bytes;
  if (!index.total_size.empty() && index.total_size != std::to_string(bytes)) {
    notes_.push_back(fmt::format("the index says total_size {}, but the tensors have {} bytes",
                                 quoted(index.total_size, 40), bytes));
  }
}

// ---- no weights

/// What a folder without weights-by-name has instead, judged by content.
struct OtherFiles {
  std::vector<std::string> pickles;       // names
  std::vector<std::string> explanations;  // of all else that could explain something
};

void look_at(const fs::directory_entry& entry, OtherFiles& found) {
  std::error_code ignored;
  if (!entry.is_regular_file(ignored)) return;
  const fs::path& file = entry.path();
  const ContentKind kind = content_kind_of(file);
  const bool named_as_weights = file.extension() == ".safetensors" || kind == ContentKind::safetensors;
  if (kind == ContentKind::json || (describe(kind).empty() && !named_as_weights)) return;
  const std::string name = quoted(file.filename().native());
  if (named_as_weights) {
    found.explanations.push_back(fmt::format("{} is not a name that is looked for", name));
  } else if (is_pickled(kind)) {
    found.pickles.push_back(name);
  } else {
    found.explanations.push_back(fmt::format("{} is {}", name, describe(kind)));
  }
}

OtherFiles files_instead_of_weights(const fs::path& folder) {
  constexpr size_t most_entries = 1000;
  OtherFiles found;
  size_t seen = 0;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    if (++seen > most_entries) break;
    try {
      look_at(*entry, found);
    } catch (const Error&) {
      // Unreadable: it cannot explain anything.
    }
  }
  std::sort(found.pickles.begin(), found.pickles.end());
  std::sort(found.explanations.begin(), found.explanations.end());
  return found;
}

void HfFolder::refuse_without_weights() const {
  const OtherFiles found = files_instead_of_weights(path_);
  if (!found.pickles.empty()) {
    fail(
        "{} has its weights as PyTorch's pickles or zip archives, which are never opened here: convert them to "
        "safetensors with `headscope import DIR OUT`; found {}",
        quoted_path(path_), listed(found.pickles, 3));
  }
  fail("{} has no weights: expected model.safetensors or model.safetensors.index.json{}{}", quoted_path(path_),
       found.explanations.empty() ? "" : "; found instead: ", listed(found.explanations, 3));
}

}  // namespace

std::unique_ptr<Checkpoint> open_hf_folder(const fs::path& folder) { return std::make_unique<HfFolder>(folder); }

}  // namespace headscope
