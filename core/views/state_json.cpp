#include "core/views/state_json.h"

#include "core/base/error.h"

namespace headscope {

StateReader::StateReader(const Json& json, std::string_view view) : json_(json), view_(view) {
  if (!json.is_object()) fail("the state of view '{}' must be a JSON object, found {}.", view, json.type_name());
}

const Json* StateReader::find(std::string_view key) {
  known_.emplace(key);
  const auto found = json_.find(std::string(key));
  return found == json_.end() ? nullptr : &*found;
}

void StateReader::read(std::string_view key, bool& value) {
  const Json* json = find(key);
  if (json == nullptr) return;
  if (!json->is_boolean())
    fail("key '{}' in the state of view '{}' must be true or false, found {}.", key, view_, json->type_name());
  value = json->get<bool>();
}

void StateReader::read(std::string_view key, int64_t& value, int64_t least) {
  const Json* json = find(key);
  if (json == nullptr) return;
  const bool fits = json->is_number_integer() && !(json->is_number_unsigned() && json->get<uint64_t>() > INT64_MAX);
  if (!fits || json->get<int64_t>() < least) {
    fail("key '{}' in the state of view '{}' must be a whole number of at least {}, found {}.", key, view_, least,
         json->is_number() ? json->dump() : json->type_name());
  }
  value = json->get<int64_t>();
}

void StateReader::read(std::string_view key, size_t& index, std::span<const std::string_view> names) {
  const Json* json = find(key);
  if (json == nullptr) return;
  if (json->is_string()) {
    for (size_t i = 0; i < names.size(); ++i) {
      if (json->get_ref<const std::string&>() == names[i]) {
        index = i;
        return;
      }
    }
  }
  fail("key '{}' in the state of view '{}' must be one of {}, found {}.", key, view_, listed(names),
       json->is_string() ? quoted(json->get_ref<const std::string&>()) : json->type_name());
}

void StateReader::finish() const {
  for (const auto& [key, value] : json_.items()) {
    if (known_.find(key) == known_.end()) {
      fail("the state of view '{}' has no key {}; it has {}.", view_, quoted(key), listed(known_));
    }
  }
}

}  // namespace headscope
