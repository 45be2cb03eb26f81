#include "core/views/state_json.h"

#include <cmath>

#include "core/base/error.h"

namespace headscope {

StateReader::StateReader(const Json& json, std::string_view name, std::string_view kind)
    : json_(json), what_(fmt::format("{} '{}'", kind, name)) {
  if (!json.is_object()) fail("{} must be a JSON object, found {}.", what_, json.type_name());
}

const Json* StateReader::find(std::string_view key) {
  known_.emplace(key);
  const auto found = json_.find(std::string(key));
  return found == json_.end() ? nullptr : &*found;
}

void StateReader::refuse(std::string_view key, std::string_view wanted, const Json& found) const {
  std::string text = found.type_name();
  if (found.is_number()) text = found.dump();
  if (found.is_string()) text = quoted(found.get_ref<const std::string&>());
  fail("key '{}' in {} must be {}, found {}.", key, what_, wanted, text);
}

void StateReader::read(std::string_view key, bool& value) {
  const Json* json = find(key);
  if (json == nullptr) return;
  if (!json->is_boolean()) refuse(key, "true or false", *json);
  value = json->get<bool>();
}

void StateReader::read(std::string_view key, std::string& value) {
  const Json* json = find(key);
  if (json == nullptr) return;
  if (!json->is_string()) refuse(key, "text", *json);
  value = json->get<std::string>();
}

void StateReader::read(std::string_view key, double& value, double least, double most) {
  const Json* json = find(key);
  if (json == nullptr) return;
  if (!json->is_number() || !(json->get<double>() >= least && json->get<double>() <= most)) {
    refuse(key, fmt::format("a number from {} to {}", least, most), *json);
  }
  value = json->get<double>();
}

void StateReader::read(std::string_view key, int64_t& value, int64_t least) {
  const Json* json = find(key);
  if (json == nullptr) return;
  const bool fits = json->is_number_integer() && !(json->is_number_unsigned() && json->get<uint64_t>() > INT64_MAX);
  if (!fits || json->get<int64_t>() < least) {
    refuse(key, fmt::format("a whole number of at least {}", least), *json);
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
  refuse(key, fmt::format("one of {}", listed(names)), *json);
}

void StateReader::finish() const {
  for (const auto& [key, value] : json_.items()) {
    if (known_.find(key) == known_.end()) fail("{} has no key {}; it has {}.", what_, quoted(key), listed(known_));
  }
}

}  // namespace headscope
