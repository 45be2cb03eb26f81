#include "core/io/content_kind.h"

#include <algorithm>
#include <string>

#include "core/base/file.h"

namespace headscope {
namespace {

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

bool is_html(std::string_view text) {
  std::string start;
  for (const char c : text.substr(0, 9)) start += c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return start == "<!doctype" || start.starts_with("<html") || start.starts_with("<head");
}

/// Eight bytes of little-endian length below 100,000,001, then an object.
bool is_safetensors(std::string_view text) {
  return text.size() >= 9 && text.substr(4, 4) == std::string_view("\0\0\0\0", 4) && text[8] == '{';
}

}  // namespace

ContentKind content_kind(std::string_view beginning) {
  const std::string_view text = beginning.substr(0, content_kind_bytes);
  if (text.empty()) return ContentKind::empty;
  if (text.starts_with("PK\x03\x04")) return ContentKind::zip;
  // Pickle protocols 2 to 5; older ones have no signature.
  if (text.size() >= 2 && text[0] == '\x80' && text[1] >= 2 && text[1] <= 5) return ContentKind::pickle;
  if (text.starts_with("GGUF")) return ContentKind::gguf;
  if (text.starts_with("version https://git-lfs")) return ContentKind::git_lfs_pointer;
  if (text.starts_with("\x89HDF\r\n\x1a\n")) return ContentKind::hdf5;
  if (text.starts_with("\x1f\x8b")) return ContentKind::gzip;
  if (is_safetensors(text)) return ContentKind::safetensors;
  const auto first = std::find_if_not(text.begin(), text.end(), is_space);
  const auto trimmed = text.substr(static_cast<size_t>(first - text.begin()));
  if (is_html(trimmed)) return ContentKind::html;
  if (trimmed.starts_with('{')) return ContentKind::json;
  return ContentKind::unknown;
}

ContentKind content_kind_of(const std::filesystem::path& file) {
  return content_kind(InputFile(file).beginning(content_kind_bytes));
}

std::string_view describe(ContentKind kind) {
  switch (kind) {
    case ContentKind::zip:
      return "a zip archive, as PyTorch's pickle checkpoints are; convert it to safetensors with `headscope import DIR "
             "OUT`, where DIR is its folder or the file itself";
    case ContentKind::pickle:
      return "a Python pickle; convert it to safetensors with `headscope import DIR OUT`, where DIR is its "
             "folder or the file itself";
    case ContentKind::gguf:
      return "a GGUF file of llama.cpp, which is not supported; use the model's original safetensors folder";
    case ContentKind::html:
      return "a web page, so its download failed; download it again";
    case ContentKind::git_lfs_pointer:
      return "a git-lfs pointer without the data; run `git lfs pull` in its folder";
    case ContentKind::hdf5:
      return "an HDF5 file; give its path instead of the folder's";
    case ContentKind::gzip:
      return "a gzip archive; unpack it first";
    case ContentKind::json:
      return "JSON text: of a model's config.json, give the folder; of a download, it may be a server's error message, "
             "so "
             "download it again";
    case ContentKind::unknown:
    case ContentKind::empty:
    case ContentKind::safetensors:
      return "";
  }
  return "";
}

bool is_pickled(ContentKind kind) { return kind == ContentKind::zip || kind == ContentKind::pickle; }

}  // namespace headscope
