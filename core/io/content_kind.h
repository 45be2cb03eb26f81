#pragma once

#include <cstddef>
#include <filesystem>
#include <string_view>

namespace headscope {

/// What a file is, told by its first bytes and never by its name.
enum class ContentKind { unknown, empty, zip, pickle, gguf, html, git_lfs_pointer, hdf5, gzip, safetensors, json };

/// How many bytes `content_kind` looks at.
inline constexpr size_t content_kind_bytes = 64;

ContentKind content_kind(std::string_view beginning);
/// Of a file. Throws Error when it cannot be read.
ContentKind content_kind_of(const std::filesystem::path&);

/// "a PyTorch checkpoint (zip archive)", with what to do about it; empty for kinds that need no explanation here.
std::string_view describe(ContentKind);

/// Files that PyTorch's pickle loader would open: reading them runs code, so HeadScope never does.
bool is_pickled(ContentKind);

}  // namespace headscope
