#include "core/io/shard_index.h"

#include <algorithm>
#include <string_view>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/io/json.h"

namespace headscope {
namespace {

constexpr uint64_t largest_index = 64u << 20;

bool is_plain_shard_name(std::string_view name, std::string_view suffix) {
  constexpr std::string_view forbidden = "/\\:";
  const auto is_plain = [&](char c) {
    return static_cast<unsigned char>(c) >= 0x20 && forbidden.find(c) == forbidden.npos;
  };
  return name.size() > suffix.size() && name.ends_with(suffix) && std::all_of(name.begin(), name.end(), is_plain);
}

}  // namespace

ShardIndex read_shard_index(const std::filesystem::path& file, std::string_view suffix) {
  const std::string source = quoted_path(file);
  const Json json = parse_json(read_small_file(file, largest_index), source, {largest_index});
  const auto map = json.is_object() ? json.find("weight_map") : json.end();
  if (map == json.end() || !map->is_object()) {
    fail("{} has no weight_map; expected an object of tensor names and their shards", source);
  }
  ShardIndex index;
  for (const auto& [tensor, value] : map->items()) {
    const std::string shard = value.is_string() ? value.get<std::string>() : value.type_name();
    if (!value.is_string() || !is_plain_shard_name(shard, suffix)) {
      fail("{}: the shard of tensor {} is {}; a shard name must be a plain file name ending in {}", source,
           quoted(tensor), quoted(shard), suffix);
    }
    index.shards.insert(shard);
    index.shard_of.emplace_back(tensor, shard);
  }
  if (index.shards.empty()) fail("{} names no shard: its weight_map is empty", source);
  const auto metadata = json.find("metadata");
  if (metadata != json.end() && metadata->is_object() && metadata->contains("total_size")) {
    index.total_size = metadata->at("total_size").dump();
  }
  return index;
}

}  // namespace headscope
