#include "core/tokenizer/tokenizer_config.h"

#include <charconv>
#include <map>
#include <set>

#include "core/base/text.h"
#include "core/tokenizer/component.h"

namespace headscope {
namespace {

/// A token as the config writes it, a text or an object.
struct WrittenToken {
  Json value;
  std::string where;

  std::string content() const {
    if (value.is_string()) return value.get<std::string>();
    if (!value.is_object()) fail("{} must be a string or an object, found {}", where, json_kind(value));
    return Component(value, where).text("content");
  }
};

/// The tokens that have names, in transformers' order: "bos_token" and its like, then those of this model alone.
class NamedTokens {
 public:
  explicit NamedTokens(const Component& config) {
    const std::pair<const char*, bool> standard[] = {{"bos_token", true},  {"eos_token", true},  {"unk_token", true},
                                                     {"sep_token", false}, {"pad_token", false}, {"cls_token", false},
                                                     {"mask_token", false}};
    for (const auto& [name, has_default] : standard) {
      standard_.insert(name);
      const std::string where = fmt::format("{}.{}", config.where(), name);
      if (const Json* token = config.find(name)) {
        set(name, {*token, where});
      } else if (has_default && !config.json().contains(name)) {
        set(name, {"<|endoftext|>", where});
      }
    }
    add_own(config);
  }

  const WrittenToken* find(const std::string& name) const {
    const auto found = places_.find(name);
    return found == places_.end() ? nullptr : &tokens_[found->second];
  }
  const std::vector<WrittenToken>& all() const { return tokens_; }

 private:
  /// Tokens of this model: keys like "image_token", and an object of them. Texts beside the object, or the object that
  /// "extra_special_tokens" is, make transformers forget "model_specific_special_tokens".
  void add_own(const Component& config) {
    std::vector<std::pair<std::string, WrittenToken>> texts;
    for (const auto& [name, value] : config.json().items()) {
      if (!name.ends_with("_token") || standard_.contains(name)) continue;
      const WrittenToken token{value, fmt::format("{}.{}", config.where(), name)};
      if (value.is_string()) texts.emplace_back(name, token);
      if (value.is_object() && value.value("__type", Json()) == "AddedToken") set(name, token);
    }
    const Json* extra = config.find("extra_special_tokens");
    const bool extra_names = extra && extra->is_object() && !extra->empty();
    for (const auto& [name, token] : texts) set(name, token);
    if (extra_names) {
      add_object(config.child("extra_special_tokens"));
    } else if (texts.empty() && config.find("model_specific_special_tokens")) {
      add_object(config.child("model_specific_special_tokens"));
    }
  }

  void add_object(const Component& tokens) {
    for (const auto& [name, value] : tokens.json().items())
      set(name, {value, fmt::format("{}.{}", tokens.where(), name)});
  }

  void set(const std::string& name, WrittenToken token) {
    const auto [found, fresh] = places_.emplace(name, tokens_.size());
    if (fresh) tokens_.emplace_back();
    tokens_[found->second] = std::move(token);
  }

  std::set<std::string> standard_;
  std::map<std::string, size_t> places_;  ///< of names in tokens_
  std::vector<WrittenToken> tokens_;
};

/// The added tokens of a pair.
class SpecialTokens {
 public:
  SpecialTokens(const BpeModel& model, const NamedTokens& named) : model_(model) {
    for (const WrittenToken& token : named.all()) {
      named_.insert(token.content());
      want(token);
    }
  }

  /// "added_tokens_decoder": {"50256": {"content": ...}}.
  void add_decoder(const Component& decoder) {
    std::map<uint32_t, std::string> keys;  // by number, not as text
    for (const auto& [key, value] : decoder.json().items()) {
      uint32_t id = 0;
      std::from_chars(key.data(), key.data() + key.size(), id);
      if (id > uint32_t{INT32_MAX} || std::to_string(id) != key) {  // "03" would be a second 3
        fail("{}: {} is no token id", decoder.where(), quoted(key));
      }
      keys.emplace(id, key);
    }
    for (const auto& [id, key] : keys) {
      const Component token = decoder.child(key);
      ids_[token.text("content")] = id;
      add(token, id, false);
    }
  }

  /// A token that must be found by its text, if it has an id. Of different forms the last counts.
  void want(const WrittenToken& token) {
    if (forms_.insert(token.value.dump()).second) wanted_[token.content()] = token;
  }

  /// After the last add_decoder() and want().
  std::vector<PlacedToken> list() {
    for (const auto& [content, token] : wanted_) {
      const auto id = model_.find(content);
      if (!id || !ids_.emplace(content, static_cast<uint32_t>(*id)).second) continue;
      const bool as_text = token.value.is_string();
      const Json object = as_text ? Json{{"content", content}} : token.value;
      add(Component(object, token.where), static_cast<uint32_t>(*id), as_text);
    }
    return list_;
  }

  std::optional<uint32_t> id_of(const std::string& content) const {
    const auto found = ids_.find(content);
    return found == ids_.end() ? std::nullopt : std::optional(found->second);
  }

 private:
  void add(const Component& token, uint32_t id, bool as_text) {
    const std::string content = token.text("content");
    const bool special = as_text || named_.contains(content) || token.boolean("special", false);
    Json out{{"id", id}, {"content", content}, {"special", special}};
    out["normalized"] = token.boolean("normalized", !special);
    for (const char* flag : {"single_word", "lstrip", "rstrip"}) out[flag] = token.boolean(flag, false);
    list_.push_back({std::move(out), token.where()});
  }

  const BpeModel& model_;
  std::set<std::string> named_, forms_;
  std::map<std::string, WrittenToken> wanted_;
  std::map<std::string, uint32_t> ids_;
  std::vector<PlacedToken> list_;
};

/// The tokens without names: "additional_special_tokens" is what older versions write.
void want_listed(const Component& config, SpecialTokens& tokens) {
  const Json* extra = config.find("extra_special_tokens");
  if (extra && !extra->is_array() && !extra->is_object()) {
    fail("{}.extra_special_tokens must be an array or an object, found {}", config.where(), json_kind(*extra));
  }
  const bool has_list = extra && extra->is_array() && !extra->empty();
  const char* key = has_list ? "extra_special_tokens" : "additional_special_tokens";
  if (!config.find(key)) return;
  size_t index = 0;
  for (const Json& token : config.array(key))
    tokens.want({token, fmt::format("{}.{}[{}]", config.where(), key, index++)});
}

/// Adds BOS before the text, or EOS after it, to a template when the config asks for it.
void add_to_template(const Component& config, const NamedTokens& named, const SpecialTokens& tokens, const char* wanted,
                     const char* name, Json& parts) {
  if (!config.boolean(wanted, false)) return;
  const WrittenToken* token = named.find(name);
  if (!token) fail("{}: {} is true, but {} is null", config.where(), wanted, name);
  const std::string content = token->content();
  const auto id = tokens.id_of(content);
  if (!id) fail("{}: {} is true, but the vocabulary has no {}", config.where(), wanted, quoted(content));
  parts["single"].push_back({{"SpecialToken", {{"id", content}}}});
  parts["special_tokens"][content] = {{"ids", {*id}}};
}

}  // namespace

PairParts parts_of_pair(const Json& config, const BpeModel& model, const std::string& where) {
  const Component component(config, where);
  const NamedTokens named(component);
  SpecialTokens tokens(model, named);
  if (component.find("added_tokens_decoder")) tokens.add_decoder(component.child("added_tokens_decoder"));
  want_listed(component, tokens);
  PairParts parts;
  parts.added_tokens = tokens.list();
  parts.post_processor = {
      {"type", "TemplateProcessing"}, {"single", Json::array()}, {"special_tokens", Json::object()}};
  add_to_template(component, named, tokens, "add_bos_token", "bos_token", parts.post_processor);
  parts.post_processor["single"].push_back({{"Sequence", {{"id", "A"}}}});
  add_to_template(component, named, tokens, "add_eos_token", "eos_token", parts.post_processor);
  parts.pre_tokenizer = {{"type", "ByteLevel"}, {"add_prefix_space", component.boolean("add_prefix_space", false)}};
  return parts;
}

}  // namespace headscope
