#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace headscope {

using Json = nlohmann::ordered_json;

struct JsonLimits {
  size_t bytes = 16u << 20;
  int depth = 64;
};

/// Strict JSON from an untrusted file: UTF-8, no duplicate keys, bounded size and depth, nothing after the
/// value, a leading byte-order mark accepted. Throws Error naming `source`, the rule and the byte position.
Json parse_json(std::string_view text, std::string_view source, const JsonLimits& limits = {});

}  // namespace headscope
