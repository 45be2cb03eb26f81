#include "core/arch/config_reader.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace headscope {
namespace {

/// A config value as a message shows it.
std::string value_text(const Json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return fmt::format("a list of {}", value.size());
  if (value.is_string()) return headscope::quoted(value.get_ref<const std::string&>());
  if (value.is_number_float()) return fmt::format("{}", value.get<double>());
  return value.dump();
}

std::string spelled(const ConfigKey& key, const std::string& path) {
  std::string out = path + std::string(key.names().front());
  if (key.names().size() > 1) {
    std::vector<std::string_view> others(key.names().begin() + 1, key.names().end());
    out += fmt::format(" (or {})", listed(others));
  }
  return out;
}

}  // namespace

ConfigReader::ConfigReader(const Json& config, std::string_view source, std::string path)
    : config_(&config), source_(source), path_(std::move(path)) {
  if (config.is_object()) return;
  const std::string what = path_.empty() ? "the config" : path_.substr(0, path_.size() - 1);
  fail("{}: {} must be an object, but is {}", source_, what, value_text(config));
}

std::pair<std::string_view, const Json*> ConfigReader::find(const ConfigKey& key) const {
  std::pair<std::string_view, const Json*> found{key.names().front(), nullptr};
  for (const std::string_view name : key.names()) {
    const auto it = config_->find(std::string(name));
    if (it == config_->end() || it->is_null()) continue;
    if (!found.second) {
      found = {name, &*it};
    } else if (*it != *found.second) {
      fail("{}: {}{} is {}, but {}{}, another spelling of it, is {}", source_, path_, found.first,
           value_text(*found.second), path_, name, value_text(*it));
    }
  }
  return found;
}

bool ConfigReader::has(const ConfigKey& key) const { return find(key).second != nullptr; }

bool ConfigReader::says_null(const ConfigKey& key) const {
  const auto names = key.names();
  return !has(key) &&
         std::any_of(names.begin(), names.end(), [&](std::string_view name) { return config_->contains(name); });
}

bool ConfigReader::is_zero(const ConfigKey& key) const {
  const Json* value = find(key).second;
  return value != nullptr && value->is_number() && value->get<double>() == 0;
}

std::vector<std::string> ConfigReader::texts(const ConfigKey& key) const {
  const Json* value = find(key).second;
  if (!value) return {};
  const auto is_text = [](const Json& one) { return one.is_string(); };
  if (!value->is_array() || !std::all_of(value->begin(), value->end(), is_text)) refuse(key, "a list of texts");
  return value->get<std::vector<std::string>>();
}

void ConfigReader::require(std::initializer_list<ConfigKey> keys) const {
  std::vector<std::string> missing;
  for (const ConfigKey& key : keys) {
    if (!has(key)) missing.push_back(spelled(key, path_));
  }
  if (missing.empty()) return;
  fail("{}: missing {}: {}", source_, missing.size() == 1 ? "key" : "keys", listed(missing, missing.size()));
}

int64_t ConfigReader::integer(const ConfigKey& key, int64_t min, int64_t max) const {
  require({key});
  const Json& value = *find(key).second;
  const auto largest = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  const bool whole = value.is_number_integer() && !(value.is_number_unsigned() && value.get<uint64_t>() > largest);
  if (whole) {
    const auto number = value.get<int64_t>();
    if (number >= min && number <= max) return number;
  }
  refuse(key, fmt::format("a whole number from {} to {}", min, max));
}

int64_t ConfigReader::integer_or(const ConfigKey& key, int64_t fallback, int64_t min, int64_t max) const {
  return has(key) ? integer(key, min, max) : fallback;
}

double ConfigReader::positive(const ConfigKey& key) const {
  require({key});
  const Json& value = *find(key).second;
  if (value.is_number()) {
    const auto number = value.get<double>();
    if (std::isfinite(number) && number > 0) return number;
  }
  refuse(key, "a finite number above 0");
}

double ConfigReader::positive_or(const ConfigKey& key, double fallback) const {
  return has(key) ? positive(key) : fallback;
}

bool ConfigReader::boolean_or(const ConfigKey& key, bool fallback) const {
  const Json* value = find(key).second;
  if (!value) return fallback;
  if (!value->is_boolean()) refuse(key, "true or false");
  return value->get<bool>();
}

std::string ConfigReader::text_or(const ConfigKey& key, std::string_view fallback) const {
  const Json* value = find(key).second;
  if (!value) return std::string(fallback);
  if (!value->is_string()) refuse(key, "a text");
  return value->get<std::string>();
}

std::vector<int64_t> ConfigReader::ids(const ConfigKey& key) const {
  const Json* value = find(key).second;
  std::vector<int64_t> out;
  if (!value) return out;
  const auto add = [&](const Json& id) {
    // Ids are 32-bit; -1 is a common way to say "none".
    if (!id.is_number_integer() || id.get<double>() > 2147483647.0 || id.get<double>() < -2147483648.0) {
      refuse(key, "a token id or a list of token ids");
    }
    out.push_back(id.get<int64_t>());
  };
  constexpr size_t most = 1000;
  if (value->is_array() && value->size() > most) refuse(key, fmt::format("at most {} token ids", most));
  if (value->is_array()) {
    for (const Json& id : *value) add(id);
  } else {
    add(*value);
  }
  return out;
}

std::vector<double> ConfigReader::numbers(const ConfigKey& key) const {
  const Json* value = find(key).second;
  if (!value) return {};
  const auto fits = [](const Json& one) { return one.is_number() && std::isfinite(one.get<double>()); };
  if (!value->is_array() || !std::all_of(value->begin(), value->end(), fits)) refuse(key, "a list of finite numbers");
  return value->get<std::vector<double>>();
}

std::vector<ConfigReader> ConfigReader::sections(const ConfigKey& key, int64_t most) const {
  require({key});
  const auto [name, value] = find(key);
  if (!value->is_array() || value->empty() || std::ssize(*value) > most) {
    refuse(key, fmt::format("a list of 1 to {} objects", most));
  }
  std::vector<ConfigReader> out;
  for (const Json& one : *value) out.emplace_back(one, source_, fmt::format("{}{}[{}].", path_, name, out.size()));
  return out;
}

void ConfigReader::allow_only(std::initializer_list<std::string_view> keys) const {
  for (const auto& [key, value] : config_->items()) {
    if (std::find(keys.begin(), keys.end(), key) != keys.end()) continue;
    fail("{}: {} is not known; known: {}", source_, headscope::quoted(path_ + key),
         listed(std::vector<std::string_view>(keys), keys.size()));
  }
}

ConfigReader ConfigReader::section(const ConfigKey& key) const {
  require({key});
  const auto [name, value] = find(key);
  return ConfigReader(*value, source_, fmt::format("{}{}.", path_, name));
}

void ConfigReader::refuse(const ConfigKey& key, std::string_view expected) const {
  const auto [name, value] = find(key);
  fail("{}: {}{} must be {}, but {}", source_, path_, name, expected,
       value ? "is " + value_text(*value) : std::string("is missing"));
}

}  // namespace headscope
