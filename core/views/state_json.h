#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>

#include "core/io/json.h"

namespace headscope {

/// Reads a view's state from JSON strictly: an unknown key, a value of the wrong type or out of range throws
/// Error naming the view and the key. Absent keys keep their defaults.
class StateReader {
 public:
  StateReader(const Json& json, std::string_view view);

  void read(std::string_view key, bool& value);
  /// Integers from `least`.
  void read(std::string_view key, int64_t& value, int64_t least);
  /// One of `names`; the index of the name found.
  void read(std::string_view key, size_t& index, std::span<const std::string_view> names);
  template <class Enum>
  void read_enum(std::string_view key, Enum& value, std::span<const std::string_view> names) {
    size_t index = static_cast<size_t>(value);
    read(key, index, names);
    value = static_cast<Enum>(index);
  }

  /// Call last: throws for a key that nothing has read.
  void finish() const;

 private:
  const Json* find(std::string_view key);

  const Json& json_;
  std::string view_;
  std::set<std::string, std::less<>> known_;
};

}  // namespace headscope
