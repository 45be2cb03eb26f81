#include <algorithm>

#include "app/gui/app/commands.h"
#include "app/gui/app/number_in.h"
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

/// `text` is an argument of the call, or a part of one.
int64_t whole_in(const CommandCall& call, std::string_view text, Bounds<int64_t> bounds) {
  const auto number = number_in<int64_t>(text);
  if (!number || *number < bounds.least || *number > bounds.most) {
    fail("{}: {} must be a whole number from {} to {}.", call.id, quoted(text), bounds.least, bounds.most);
  }
  return *number;
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

std::optional<std::string> CommandCall::text(std::string_view name, size_t place) const {
  const auto found = named.find(name);
  if (found != named.end()) return found->second;
  if (place < words.size()) return words[place];
  return {};
}

std::string CommandCall::needed(std::string_view name, size_t place, std::string_view example) const {
  const auto found = text(name, place);
  if (!found || found->empty()) fail("{} needs {}, as in: {}", id, name, example);
  return *found;
}

std::optional<int64_t> CommandCall::number(std::string_view name) const {
  const auto found = named.find(name);
  if (found == named.end()) return {};
  const auto number = number_in<int64_t>(found->second);
  if (!number || *number < 0) fail("{}: {}={} must be a whole number from 0 on.", id, name, found->second);
  return number;
}

std::optional<int64_t> CommandCall::whole(std::string_view name, size_t place, Bounds<int64_t> bounds) const {
  const auto found = text(name, place);
  if (!found) return {};
  return whole_in(*this, *found, bounds);
}

std::optional<double> CommandCall::real(std::string_view name, size_t place, Bounds<double> bounds) const {
  const auto found = text(name, place);
  if (!found) return {};
  const auto number = number_in<double>(*found);
  // Written so that NaN is refused.
  if (!number || !(*number >= bounds.least && *number <= bounds.most)) {
    fail("{}: {} must be a number from {} to {}.", id, quoted(*found), bounds.least, bounds.most);
  }
  return number;
}

std::optional<std::pair<int64_t, int64_t>> CommandCall::range(std::string_view name, size_t place) const {
  const auto found = text(name, place);
  if (!found) return {};
  const size_t colon = found->find(':');
  if (colon == std::string::npos) fail("{}: {} must be two tokens, as in 10:40.", id, quoted(*found));
  const int64_t begin = whole_in(*this, found->substr(0, colon), {0, INT32_MAX});
  return std::pair(begin, whole_in(*this, found->substr(colon + 1), {begin + 1, INT32_MAX}));
}

ModelSlot CommandCall::slot(std::string_view name, size_t place, ModelSlot otherwise) const {
  const auto found = text(name, place);
  if (!found) return otherwise;
  if (*found == "A" || *found == "a") return ModelSlot::a;
  if (*found == "B" || *found == "b") return ModelSlot::b;
  fail("{} is not a slot: use A or B.", quoted(*found));
}

const std::string& CommandCall::needed_word(size_t place, std::string_view what) const {
  if (place >= words.size()) fail("{} needs {}.", id, what);
  return words[place];
}

double CommandCall::needed_number(size_t place) const {
  const auto number = place < words.size() ? number_in<double>(words[place]) : std::nullopt;
  if (!number) fail("{} needs a number as word {}.", id, place + 1);
  return *number;
}

const Command& find_command(std::string_view id) {
  for (const Command& command : commands()) {
    if (command.id == id) return command;
  }
  std::vector<std::string_view> names;
  for (const Command& command : commands()) names.push_back(command.id);
  fail("There is no command {}; there are {}.", quoted(id), listed(names, 100));
}

void run_command(App& app, Shell& shell, std::string_view line) {
  const CommandCall call = parse_call(line);
  const Command& command = find_command(call.id);
  if (const std::string reason = command.disabled(app); !reason.empty()) {
    fail("{} cannot be done now: {}", command.title.empty() ? command.id : command.title, reason);
  }
  // Notes were about what was done before; these two are about the notes.
  if (command.id != "dismiss" && command.id != "escape") app.clear_notes();
  command.run(app, shell, call);
}

}  // namespace headscope::gui
