#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/base/error.h"
#include "core/io/json.h"

namespace headscope {

/// One part of a tokenizer file (a normalizer, a decoder, ...) and its place for messages. Reads fields strictly:
/// a field of the wrong kind throws Error. Refers to the JSON, which must outlive it.
class Component {
 public:
  /// `where` is like "models/x: tokenizer.json: pre_tokenizer".
  Component(const Json& json, std::string where);

  const Json& json() const { return json_; }
  const std::string& where() const { return where_; }
  /// The field "type".
  std::string type() const { return text("type"); }

  /// nullptr when absent or null.
  const Json* find(std::string_view key) const;
  /// Throws when absent or null.
  const Json& get(std::string_view key) const;
  bool boolean(std::string_view key, bool fallback) const;
  std::string text(std::string_view key) const;
  std::string text(std::string_view key, std::string_view fallback) const;
  /// A string of exactly one character.
  std::string character(std::string_view key) const;
  uint64_t count(std::string_view key) const;
  /// The array `key`; throws when it is no array.
  const Json& array(std::string_view key) const;
  /// Element `index` of array `key`, as a component.
  Component element(std::string_view key, size_t index) const;
  Component child(std::string_view key) const;

  /// Throws: this type is not supported.
  [[noreturn]] void refuse_type(std::string_view supported) const;
  /// Throws "<where> <problem>; token ids can still be given with --ids".
  [[noreturn]] void refuse(std::string_view problem) const;

 private:
  const Json& json_;
  std::string where_;
};

/// "string", "number", ... for messages.
std::string_view json_kind(const Json&);

}  // namespace headscope
