#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace headscope {

/// Members keep the file's order. Looking a key up is linear: walk large objects (a vocabulary) with items().
using Json = nlohmann::ordered_json;

struct JsonLimits {
  size_t bytes = 16u << 20;
  int depth = 64;
};

/// Strict JSON from an untrusted file: UTF-8, no duplicate keys, bounded size and depth, nothing after the
/// value, a leading byte-order mark accepted. Throws Error naming `source`, the rule and the byte position.
/// Time is n log n whatever the keys are.
Json parse_json(std::string_view text, std::string_view source, const JsonLimits& limits = {});

/// Receives a JSON text piece by piece, for what must not become a tree first. Throw to stop.
/// `position` is the byte behind what was just read.
class JsonEvents {
 public:
  virtual ~JsonEvents() = default;
  virtual void begin_object(size_t position) = 0;
  virtual void key(std::string& text, size_t position) = 0;
  virtual void end_object() = 0;
  virtual void begin_array(size_t position) = 0;
  virtual void end_array() = 0;
  /// Any other value; a number that is not an unsigned 64-bit integer is signed or floating.
  virtual void value(Json&& scalar, size_t position) = 0;
};

/// Reads `text` under the same rules, except that the caller looks for duplicate keys. Nothing is built.
void read_json(std::string_view text, std::string_view source, const JsonLimits& limits, JsonEvents& events);

}  // namespace headscope
