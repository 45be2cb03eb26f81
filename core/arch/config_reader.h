#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/error.h"
#include "core/io/json.h"

namespace headscope {

/// A key of a config with the other spellings in use, the usual one first.
class ConfigKey {
 public:
  constexpr ConfigKey(const char* name) : names_{name}, count_(1) {}  // NOLINT: a plain name is a key
  constexpr ConfigKey(const char* name, const char* other) : names_{name, other}, count_(2) {}

  constexpr std::span<const std::string_view> names() const { return {names_.data(), count_}; }

 private:
  std::array<std::string_view, 2> names_;
  size_t count_;
};

/// Reads typed values from an untrusted config. Every complaint is an Error that names the file, the key, what was
/// expected and what was found. Null counts as absent, as it does for transformers. Two spellings of one key with
/// different values are refused. Holds a reference to the config. Numbers are never converted from text, booleans
/// or fractions.
class ConfigReader {
 public:
  /// `source` names the file in messages; `path` goes before keys ("rope_scaling."). Throws if the config is not
  /// an object.
  ConfigReader(const Json& config, std::string_view source, std::string path = {});

  bool empty() const { return config_->empty(); }
  bool has(const ConfigKey&) const;
  /// Present with the value null, where that says something else than leaving the key out.
  bool says_null(const ConfigKey&) const;

  /// Throws one Error that lists every absent key.
  void require(std::initializer_list<ConfigKey>) const;

  /// Present and the number 0.
  bool is_zero(const ConfigKey&) const;

  /// Whole numbers in [min, max].
  int64_t integer(const ConfigKey&, int64_t min, int64_t max) const;
  int64_t integer_or(const ConfigKey&, int64_t fallback, int64_t min, int64_t max) const;

  /// Finite numbers above zero.
  double positive(const ConfigKey&) const;
  double positive_or(const ConfigKey&, double fallback) const;

  bool boolean_or(const ConfigKey&, bool fallback) const;
  std::string text_or(const ConfigKey&, std::string_view fallback) const;

  /// A list of texts; empty when absent.
  std::vector<std::string> texts(const ConfigKey&) const;

  /// A text that must be one of the table's; the fallback when absent.
  template <class T, class Table>
  T choice_or(const ConfigKey& key, T fallback, const Table& table) const {
    if (!has(key)) return fallback;
    const std::string text = text_or(key, "");
    std::vector<std::string_view> names;
    for (const auto& [name, value] : table) {
      if (name == text) return value;
      names.push_back(name);
    }
    refuse(key, "one of " + listed(names, names.size()));
  }

  /// One id, a list of ids or nothing. Whether they are in the vocabulary is for the caller to check.
  std::vector<int64_t> ids(const ConfigKey&) const;

  /// Finite numbers; empty when absent.
  std::vector<double> numbers(const ConfigKey&) const;

  /// The object under `key`, which must be present.
  ConfigReader section(const ConfigKey&) const;
  /// The objects in the list under `key`, at least one and at most `most`.
  std::vector<ConfigReader> sections(const ConfigKey&, int64_t most) const;

  /// Throws Error naming a key that is none of these.
  void allow_only(std::initializer_list<std::string_view> keys) const;

  /// Throws: "config.json: n_head must be `expected`, but is -1".
  [[noreturn]] void refuse(const ConfigKey&, std::string_view expected) const;

  const std::string& source() const { return source_; }

 private:
  /// The first spelling that is present and not null: {name, value}, or {first spelling, null}.
  std::pair<std::string_view, const Json*> find(const ConfigKey&) const;

  const Json* config_;
  std::string source_, path_;
};

}  // namespace headscope
