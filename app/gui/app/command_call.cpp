#include <algorithm>
#include <charconv>

#include "app/gui/app/commands.h"
#include "core/base/error.h"

namespace headscope::gui {
namespace {

char unescaped(char c) {
  switch (c) {
    case 'n':
      return '\n';
    case 't':
      return '\t';
    default:
      return c;
  }
}

/// Reads one word from `position` on; sets `named_at` to the place of an '=' that is outside quotes.
std::string read_word(std::string_view line, size_t& position, size_t& named_at) {
  std::string word;
  bool inside = false;
  named_at = std::string::npos;
  for (; position < line.size(); ++position) {
    const char c = line[position];
    if (inside && c == '\\' && position + 1 < line.size()) {
      word += unescaped(line[++position]);
    } else if (c == '"') {
      inside = !inside;
    } else if (!inside && (c == ' ' || c == '\t')) {
      break;
    } else {
      if (!inside && c == '=' && named_at == std::string::npos) named_at = word.size();
      word += c;
    }
  }
  if (inside) fail("{} has a double quote that is not closed.", quoted(line));
  return word;
}

void skip_spaces(std::string_view line, size_t& position) {
  while (position < line.size() && (line[position] == ' ' || line[position] == '\t')) ++position;
}

bool is_name(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
  });
}

}  // namespace

CommandCall parse_call(std::string_view line) {
  CommandCall call;
  size_t position = 0, named_at = 0;
  skip_spaces(line, position);
  call.id = read_word(line, position, named_at);
  skip_spaces(line, position);
  call.rest = line.substr(position);
  while (position < line.size()) {
    std::string word = read_word(line, position, named_at);
    skip_spaces(line, position);
    if (named_at != std::string::npos && is_name(std::string_view(word).substr(0, named_at))) {
      call.named[word.substr(0, named_at)] = word.substr(named_at + 1);
    } else {
      call.words.push_back(std::move(word));
    }
  }
  return call;
}

std::string quoted_word(std::string_view text) {
  const bool plain = !text.empty() && text.find_first_of(" \t\n\"\\=") == std::string::npos;
  if (plain) return std::string(text);
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else {
      out += c;
    }
  }
  return out + '"';
}

void CommandCall::allow(size_t most_words, std::initializer_list<std::string_view> names) const {
  if (words.size() > most_words) fail("{} does not know what to do with {}.", id, quoted(words[most_words]));
  for (const auto& [name, value] : named) {
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      fail("{} has no argument {}; it has {}.", id, quoted(name), names.size() > 0 ? listed(names) : "none");
    }
  }
}

std::optional<int64_t> CommandCall::number(std::string_view name) const {
  const auto found = named.find(name);
  if (found == named.end()) return {};
  int64_t value = 0;
  const char* last = found->second.data() + found->second.size();
  const auto [end, error] = std::from_chars(found->second.data(), last, value);
  if (error != std::errc() || end != last || value < 0) {
    fail("{}: {}={} must be a whole number from 0 on.", id, name, found->second);
  }
  return value;
}

std::optional<std::string> CommandCall::text(std::string_view name, size_t place) const {
  const auto found = named.find(name);
  if (found != named.end()) return found->second;
  if (place < words.size()) return words[place];
  return {};
}

}  // namespace headscope::gui
