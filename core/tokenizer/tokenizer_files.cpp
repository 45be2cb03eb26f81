#include "core/tokenizer/tokenizer_files.h"

#include <algorithm>
#include <limits>
#include <unordered_map>
#include <utility>

namespace headscope {
namespace {

int32_t id_of(const Json& value, const std::string& where, std::string_view token) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() > std::numeric_limits<int32_t>::max()) {
    const std::string found = value.is_number() ? value.dump() : std::string(json_kind(value));
    fail("{}: the id of {} must be a whole number below 2^31, found {}", where, quoted(token), found);
  }
  return value.get<int32_t>();
}

std::vector<std::pair<std::string, int32_t>> vocab_of(const Json& json, const std::string& where) {
  if (!json.is_object()) fail("{} must be an object, found {}", where, json_kind(json));
  std::vector<std::pair<std::string, int32_t>> vocab;
  vocab.reserve(json.size());
  for (const auto& [token, id] : json.items()) vocab.emplace_back(token, id_of(id, where, token));
  return vocab;
}

/// "a b" into "a" and "b".
std::pair<std::string, std::string> split_merge(std::string_view line, const std::string& where) {
  const size_t space = line.find(' ');
  if (space == line.npos || line.find(' ', space + 1) != line.npos) {
    fail("{}: a merge must be two tokens with a space between them, found {}", where, quoted(line));
  }
  return {std::string(line.substr(0, space)), std::string(line.substr(space + 1))};
}

std::vector<std::pair<std::string, std::string>> merges_of(const Json& json, const std::string& where) {
  if (!json.is_array()) fail("{} must be an array, found {}", where, json_kind(json));
  std::vector<std::pair<std::string, std::string>> merges;
  merges.reserve(json.size());
  const bool strings = !json.empty() && json.front().is_string();
  for (const Json& merge : json) {
    const bool pair = merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string();
    if (strings ? !merge.is_string() : !pair) {
      fail("{}: merge {} is neither like the first one, nor are merges all \"a b\" or all [\"a\", \"b\"]", where,
           merges.size());
    }
    if (pair) {
      merges.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
    } else if (const auto& line = merge.get_ref<const std::string&>(); !line.starts_with("#version")) {
      merges.push_back(split_merge(line, where));
    }
  }
  return merges;
}

/// Options of the model that would change the ids in ways that are not supported.
void refuse_options(const Component& model) {
  for (const char* option : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!model.text(option, "").empty()) {
      model.refuse(fmt::format("has the {} {}, which is not supported", option, quoted(model.text(option))));
    }
  }
  const Json* dropout = model.find("dropout");
  if (dropout && !(dropout->is_number() && dropout->get<double>() == 0)) {
    model.refuse("has a dropout, which is not supported");
  }
}

}  // namespace

BpeData read_bpe(const Component& model) {
  // GPT-2's own file, for one, does not name the type.
  if (model.find("type") ? model.type() != "BPE" : !model.find("merges")) {
    if (model.find("type")) model.refuse_type("BPE");
    model.refuse("names no type and has no merges; only BPE is supported");
  }
  refuse_options(model);
  BpeData data;
  if (model.find("unk_token")) data.unk_token = model.text("unk_token");
  data.fuse_unk = model.boolean("fuse_unk", false);
  data.byte_fallback = model.boolean("byte_fallback", false);
  data.ignore_merges = model.boolean("ignore_merges", false);
  data.vocab = vocab_of(model.get("vocab"), model.where() + ".vocab");
  data.merges = merges_of(model.get("merges"), model.where() + ".merges");
  return data;
}

std::vector<AddedToken> read_added_tokens(std::span<const Component> entries, const BpeModel& model) {
  std::vector<AddedToken> tokens;
  std::unordered_map<std::string_view, size_t> seen;
  tokens.reserve(entries.size());  // `seen` points into them
  const auto vocab_size = static_cast<int64_t>(model.size());
  int64_t largest = -1;
  for (const Component& component : entries) {
    AddedToken token;
    token.content = component.text("content");
    if (token.content.empty()) fail("{} is empty", component.where());
    token.id = id_of(component.get("id"), component.where(), token.content);
    token.special = component.boolean("special", false);
    token.normalized = component.boolean("normalized", !token.special);
    token.single_word = component.boolean("single_word", false);
    token.lstrip = component.boolean("lstrip", false);
    token.rstrip = component.boolean("rstrip", false);
    const auto in_vocab = model.find(token.content);
    const int64_t expected = in_vocab ? *in_vocab : largest >= vocab_size ? largest + 1 : vocab_size;
    if (token.id != expected) {
      const std::string* other = model.token(token.id);
      fail("{}: the added token {} has id {}, but {} is {}{}", component.where(), quoted(token.content), token.id,
           in_vocab ? "its id in the vocabulary" : "the next free id", expected,
           other && !in_vocab ? fmt::format("; {} is {}", token.id, quoted(*other)) : std::string());
    }
    largest = std::max<int64_t>(largest, token.id);
    tokens.push_back(std::move(token));
    if (!seen.emplace(tokens.back().content, tokens.size() - 1).second) {
      fail("{}: the added token {} is listed twice", component.where(), quoted(tokens.back().content));
    }
  }
  return tokens;
}

BpeData read_vocab_and_merges(std::string_view vocab_json, std::string_view merges_txt, std::string_view source) {
  BpeData data;
  const std::string vocab_name = fmt::format("{}: vocab.json", source);
  const std::string merges_name = fmt::format("{}: merges.txt", source);
  data.vocab = vocab_of(parse_json(vocab_json, vocab_name, tokenizer_json_limits), vocab_name);
  if (merges_txt.size() > tokenizer_json_limits.bytes) fail("{} is too large", merges_name);
  while (!merges_txt.empty()) {
    const size_t end = std::min(merges_txt.find('\n'), merges_txt.size());
    std::string_view line = merges_txt.substr(0, end);
    merges_txt.remove_prefix(std::min(end + 1, merges_txt.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.empty() && !line.starts_with("#version")) data.merges.push_back(split_merge(line, merges_name));
  }
  return data;
}

}  // namespace headscope
