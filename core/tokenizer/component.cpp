#include "core/tokenizer/component.h"

#include <utility>

#include "core/base/text.h"

namespace headscope {

std::string_view json_kind(const Json& json) {
  switch (json.type()) {
    case Json::value_t::null:
      return "null";
    case Json::value_t::object:
      return "an object";
    case Json::value_t::array:
      return "an array";
    case Json::value_t::string:
      return "a string";
    case Json::value_t::boolean:
      return "true or false";
    case Json::value_t::number_integer:
      return "a negative number";
    case Json::value_t::number_unsigned:
      return "a number";
    case Json::value_t::number_float:
      return "a fraction";
    default:
      return "something else";
  }
}

Component::Component(const Json& json, std::string where) : json_(json), where_(std::move(where)) {
  if (!json_.is_object()) fail("{} must be an object, found {}", where_, json_kind(json_));
}

const Json* Component::find(std::string_view key) const {
  const auto found = json_.find(key);
  return found == json_.end() || found->is_null() ? nullptr : &*found;
}

const Json& Component::get(std::string_view key) const {
  if (const Json* found = find(key)) return *found;
  fail("{} has no \"{}\"", where_, key);
}

bool Component::boolean(std::string_view key, bool fallback) const {
  const Json* found = find(key);
  if (!found) return fallback;
  if (!found->is_boolean()) fail("{}: \"{}\" must be true or false, found {}", where_, key, json_kind(*found));
  return found->get<bool>();
}

std::string Component::text(std::string_view key) const {
  const Json& value = get(key);
  if (!value.is_string()) fail("{}: \"{}\" must be a string, found {}", where_, key, json_kind(value));
  return value.get<std::string>();
}

std::string Component::text(std::string_view key, std::string_view fallback) const {
  return find(key) ? text(key) : std::string(fallback);
}

std::string Component::character(std::string_view key) const {
  const std::string value = text(key);
  size_t end = 0;
  if (!value.empty()) decode_utf8(value, end);
  if (value.empty() || end != value.size()) {
    fail("{}: \"{}\" must be one character, found {}", where_, key, quoted(value));
  }
  return value;
}

uint64_t Component::count(std::string_view key) const {
  const Json& value = get(key);
  if (!value.is_number_unsigned()) {
    fail("{}: \"{}\" must be a whole number, found {}", where_, key, json_kind(value));
  }
  return value.get<uint64_t>();
}

const Json& Component::array(std::string_view key) const {
  const Json& value = get(key);
  if (!value.is_array()) fail("{}: \"{}\" must be an array, found {}", where_, key, json_kind(value));
  return value;
}

Component Component::element(std::string_view key, size_t index) const {
  return Component(array(key)[index], fmt::format("{}.{}[{}]", where_, key, index));
}

Component Component::child(std::string_view key) const {
  return Component(get(key), fmt::format("{}.{}", where_, key));
}

void Component::refuse_type(std::string_view supported) const {
  refuse(fmt::format("has the type {}, which is not supported (supported: {})", quoted(type()), supported));
}

void Component::refuse(std::string_view problem) const {
  fail("{} {}; token ids can still be given with --ids", where_, problem);
}

}  // namespace headscope
