#include "core/tokenizer/tokenizer_config.h"

#include <algorithm>
#include <charconv>
#include <map>

#include "core/base/text.h"
#include "core/tokenizer/component.h"

namespace headscope {
namespace {

constexpr const char* flags[] = {"single_word", "lstrip", "rstrip", "normalized"};

/// The special tokens of a pair, as the "added_tokens" of a tokenizer.json.
class SpecialTokens {
 public:
  explicit SpecialTokens(const BpeModel& model) : model_(model) {}

  /// "added_tokens_decoder": {"50256": {"content": ...}}.
  void add_decoder(const Component& decoder, const Json& entries) {
    std::map<uint32_t, std::string> keys;  // by number, not as text
    for (const auto& [key, value] : entries.items()) {
      uint32_t id = 0;
      const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
      if (error != std::errc() || end != key.data() + key.size() || id > uint32_t{INT32_MAX}) {
        fail("{}: {} is no token id", decoder.where(), quoted(key));
      }
      keys.emplace(id, key);
    }
    for (const auto& [id, key] : keys) add(decoder.child(key), id);
  }

  /// A token that must be found by its text, if it has an id.
  void add_named(const Json& value, const std::string& where) {
    const Json token = value.is_string() ? Json{{"content", value}, {"normalized", false}} : value;
    if (!token.is_object()) fail("{} must be a string or an object, found {}", where, json_kind(value));
    const Component component(token, where);
    const std::string content = component.text("content");
    if (id_of(content)) return;
    if (const auto id = model_.find(content)) add(component, static_cast<uint32_t>(*id));
  }

  std::optional<uint32_t> id_of(const std::string& content) const {
    const auto found = ids_.find(content);
    return found == ids_.end() ? std::nullopt : std::optional(found->second);
  }

  Json list() const { return list_; }

 private:
  void add(const Component& token, uint32_t id) {
    Json out{{"id", id}, {"content", token.text("content")}, {"special", token.boolean("special", true)}};
    for (const char* flag : flags) out[flag] = token.boolean(flag, false);
    ids_.emplace(token.text("content"), id);
    list_.push_back(std::move(out));
  }

  const BpeModel& model_;
  std::map<std::string, uint32_t> ids_;
  Json list_ = Json::array();
};

/// The text of a token that the config names, or GPT-2's; nothing where it says null.
std::optional<Json> named_token(const Json& config, const char* key, bool has_default) {
  const auto found = config.find(key);
  if (found == config.end()) return has_default ? std::optional<Json>("<|endoftext|>") : std::nullopt;
  return found->is_null() ? std::nullopt : std::optional<Json>(*found);
}

SpecialTokens read_special_tokens(const Json& config, const BpeModel& model, const Component& component) {
  SpecialTokens tokens(model);
  const std::string& where = component.where();
  if (const Json* decoder = component.find("added_tokens_decoder")) {
    tokens.add_decoder(component.child("added_tokens_decoder"), *decoder);
  }
  const std::pair<const char*, bool> keys[] = {{"bos_token", true},  {"eos_token", true},  {"unk_token", true},
                                               {"sep_token", false}, {"pad_token", false}, {"cls_token", false},
                                               {"mask_token", false}};
  for (const auto& [key, has_default] : keys) {
    if (const auto token = named_token(config, key, has_default))
      tokens.add_named(*token, fmt::format("{}.{}", where, key));
  }
  if (!component.find("additional_special_tokens")) return tokens;
  for (const Json& token : component.array("additional_special_tokens")) {
    tokens.add_named(token, where + ".additional_special_tokens");
  }
  return tokens;
}

/// Adds BOS before the text, or EOS after it, to a template when the config asks for it.
void add_to_template(const Json& config, const Component& component, const SpecialTokens& tokens, const char* wanted,
                     const char* key, Json& parts) {
  if (!component.boolean(wanted, false)) return;
  const auto token = named_token(config, key, true);
  if (!token) fail("{}: {} is true, but {} is null", component.where(), wanted, key);
  const std::string content = token->is_string() ? token->get<std::string>() : token->at("content").get<std::string>();
  const auto id = tokens.id_of(content);
  if (!id) fail("{}: {} is true, but the vocabulary has no {}", component.where(), wanted, quoted(content));
  parts["single"].push_back({{"SpecialToken", {{"id", content}}}});
  parts["special_tokens"][content] = {{"ids", {*id}}};
}

}  // namespace

Json parts_of_pair(const Json& config, const BpeModel& model, const std::string& where) {
  const Component component(config, where);
  const SpecialTokens tokens = read_special_tokens(config, model, component);
  Json around{{"type", "TemplateProcessing"}, {"single", Json::array()}, {"special_tokens", Json::object()}};
  add_to_template(config, component, tokens, "add_bos_token", "bos_token", around);
  around["single"].push_back({{"Sequence", {{"id", "A"}}}});
  add_to_template(config, component, tokens, "add_eos_token", "eos_token", around);
  const Json bytes{{"type", "ByteLevel"}, {"add_prefix_space", component.boolean("add_prefix_space", false)}};
  return {{"added_tokens", tokens.list()}, {"pre_tokenizer", bytes}, {"post_processor", around}};
}

}  // namespace headscope
