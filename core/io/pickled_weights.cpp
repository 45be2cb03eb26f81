#include "core/io/pickled_weights.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <system_error>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/io/content_kind.h"
#include "core/io/shard_index.h"

namespace headscope {
namespace {

namespace fs = std::filesystem;

void require_pickled(const fs::path& file) {
  const ContentKind kind = content_kind_of(file);
  if (is_pickled(kind)) return;
  const std::string_view really = describe(kind);
  fail("{} is not a PyTorch checkpoint{}{}", quoted_path(file),
       kind == ContentKind::empty         ? ": the file is empty"
       : kind == ContentKind::safetensors ? ": it is safetensors already, and can be opened as it is"
       : really.empty()                   ? ": it begins neither as a zip archive nor as a pickle"
                                          : ": it is ",
       really);
}

bool has_entry(const fs::path& folder, const char* name) {
  std::error_code ignored;
  return fs::exists(fs::symlink_status(folder / name, ignored));
}

std::vector<fs::path> shards_of(const fs::path& index_file) {
  std::vector<fs::path> files;
  for (const std::string& shard : read_shard_index(index_file, ".bin").shards) {
    files.push_back(index_file.parent_path() / shard);
  }
  return files;
}

/// The pickles of a folder, whatever they are called.
std::vector<fs::path> pickles_in(const fs::path& folder) {
  constexpr size_t most_entries = 1000;
  std::vector<fs::path> found;
  size_t seen = 0;
  std::error_code error, ignored;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    if (++seen > most_entries) break;
    try {
      if (entry->is_regular_file(ignored) && is_pickled(content_kind_of(entry->path()))) found.push_back(entry->path());
    } catch (const Error&) {
      // Unreadable: whoever wants this one names it and hears why.
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::vector<fs::path> files_in(const fs::path& folder) {
  if (has_entry(folder, "pytorch_model.bin")) return {folder / "pytorch_model.bin"};
  if (has_entry(folder, "pytorch_model.bin.index.json")) return shards_of(folder / "pytorch_model.bin.index.json");
  std::vector<fs::path> found = pickles_in(folder);
  if (found.size() == 1) return found;
  if (found.empty() && (has_entry(folder, "model.safetensors") || has_entry(folder, "model.safetensors.index.json"))) {
    fail("{} needs no import: it holds safetensors already, which can be opened as they are", quoted_path(folder));
  }
  if (found.empty()) {
    fail("{} has no PyTorch checkpoint: expected pytorch_model.bin or pytorch_model.bin.index.json",
         quoted_path(folder));
  }
  std::vector<std::string> names;
  for (const fs::path& file : found) names.push_back(quoted(file.filename().native()));
  fail("{} has several PyTorch files, and none is pytorch_model.bin: give the one that holds the weights: {}",
       quoted_path(folder), listed(names));
}

}  // namespace

PickledWeights find_pickled_weights(const fs::path& source) {
  struct stat status {};
  if (stat(source.c_str(), &status) != 0) {
    fail("cannot open {}: {}; expected a folder with pytorch_model.bin, or one .bin or .pt file", quoted_path(source),
         errno_text(errno));
  }
  PickledWeights weights;
  if (S_ISDIR(status.st_mode)) {
    weights = {source, files_in(source)};
  } else {
    weights = {source.has_parent_path() ? source.parent_path() : fs::path("."), {source}};
  }
  for (const fs::path& file : weights.files) require_pickled(file);
  return weights;
}

}  // namespace headscope
