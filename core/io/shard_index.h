#pragma once

#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace headscope {

/// What model.safetensors.index.json says, or pytorch_model.bin.index.json. Every shard is a plain file name: it can
/// lead nowhere but into the index's own folder.
struct ShardIndex {
  std::vector<std::pair<std::string, std::string>> shard_of;  ///< (tensor, shard), in the file's order
  std::set<std::string> shards;
  std::string total_size;  ///< bytes of all tensors, as the file spells it; empty if it does not say
};

/// Every shard's name must end in `suffix`. Throws Error naming the file and the entry for anything else.
ShardIndex read_shard_index(const std::filesystem::path& file, std::string_view suffix = ".safetensors");

}  // namespace headscope
