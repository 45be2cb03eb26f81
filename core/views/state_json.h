#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>

#include "core/io/json.h"

namespace headscope {

/// Reads a state from JSON strictly: an unknown key, a value of the wrong type or out of range throws Error naming
/// the state and the key. Absent keys keep their defaults.
class StateReader {
 public:
  /// `kind` and `name` say whose state it is: "the state of view" 'map'.
  StateReader(const Json& json, std::string_view name, std::string_view kind = "the state of view");

  void read(std::string_view key, bool& value);
  void read(std::string_view key, std::string& value);
  /// Finite numbers in [least, most].
  void read(std::string_view key, double& value, double least, double most);
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

  /// The value itself, for what is read elsewhere, or null.
  const Json* find(std::string_view key);

  /// Call last: throws for a key that nothing has read.
  void finish() const;

 private:
  [[noreturn]] void refuse(std::string_view key, std::string_view wanted, const Json& found) const;

  const Json& json_;
  std::string what_;  ///< "the state of view 'map'"
  std::set<std::string, std::less<>> known_;
};

}  // namespace headscope
