#include "core/tokenizer/tokenizer.h"

#include <algorithm>
#include <utility>

#include "core/base/text.h"
#include "core/tokenizer/added_tokens.h"
#include "core/tokenizer/bpe.h"
#include "core/tokenizer/decoder.h"
#include "core/tokenizer/normalizer.h"
#include "core/tokenizer/post_processor.h"
#include "core/tokenizer/pre_tokenizer.h"
#include "core/tokenizer/tokenizer_config.h"
#include "core/tokenizer/tokenizer_files.h"

namespace headscope {

struct Tokenizer::Impl {
  BpeModel model;
  AddedTokens added;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  PostProcessor post_processor;
  Decoder decoder;

  static std::unique_ptr<const Impl> from_json(std::string_view text, const std::string& name);
  static std::unique_ptr<const Impl> from_vocab_and_merges(const TokenizerFiles&, std::string_view source);

  /// What decoding works on; nullptr when no token has this id.
  const std::string* token(int32_t id) const;
};

namespace {

/// The elements of the array `key`; none where it is absent.
std::vector<Component> elements(const Component& file, std::string_view key) {
  std::vector<Component> out;
  const Json* list = file.find(key);
  if (!list) return out;
  if (!list->is_array()) fail("{}.{} must be an array, found {}", file.where(), key, json_kind(*list));
  out.reserve(list->size());
  for (size_t i = 0; i < list->size(); ++i) out.push_back(file.element(key, i));
  return out;
}

}  // namespace

std::unique_ptr<const Tokenizer::Impl> Tokenizer::Impl::from_json(std::string_view text, const std::string& name) {
  const Json json = parse_json(text, name, tokenizer_json_limits);
  const Component file(json, name);
  if (file.text("version", "1.0") != "1.0") {
    file.refuse(fmt::format("has the version {}; only \"1.0\" is supported", quoted(file.text("version"))));
  }
  BpeModel model(read_bpe(file.child("model")), name + ".model");
  Normalizer normalizer;
  if (file.find("normalizer")) normalizer = Normalizer(file.child("normalizer"));
  const std::string added_name = name + ".added_tokens";
  AddedTokens added(read_added_tokens(elements(file, "added_tokens"), model), normalizer, added_name);
  PreTokenizer pre_tokenizer;
  if (file.find("pre_tokenizer")) pre_tokenizer = PreTokenizer(file.child("pre_tokenizer"));
  PostProcessor post_processor;
  if (file.find("post_processor")) post_processor = PostProcessor(file.child("post_processor"));
  Decoder decoder;
  if (file.find("decoder")) decoder = Decoder(file.child("decoder"));
  auto impl =
      std::make_unique<const Impl>(Impl{std::move(model), std::move(added), std::move(normalizer),
                                        std::move(pre_tokenizer), std::move(post_processor), std::move(decoder)});
  for (const int32_t id : impl->post_processor.special_ids()) {
    if (!impl->token(id)) fail("{}.post_processor: the template adds id {}, which is no token", name, id);
  }
  return impl;
}

std::unique_ptr<const Tokenizer::Impl> Tokenizer::Impl::from_vocab_and_merges(const TokenizerFiles& files,
                                                                              std::string_view source) {
  BpeModel model(read_vocab_and_merges(*files.vocab_json, *files.merges_txt, source), std::string(source));
  const std::string name = fmt::format("{}: tokenizer_config.json", source);
  const Json config =
      files.config_json ? parse_json(*files.config_json, name, tokenizer_json_limits) : Json(Json::object());
  const PairParts parts = parts_of_pair(config, model, name);
  std::vector<Component> entries;
  for (const PlacedToken& token : parts.added_tokens) entries.emplace_back(token.token, token.where);
  AddedTokens added(read_added_tokens(entries, model), Normalizer(), name);
  PreTokenizer pre_tokenizer(Component(parts.pre_tokenizer, name));
  PostProcessor post_processor(Component(parts.post_processor, name));
  return std::make_unique<const Impl>(Impl{std::move(model), std::move(added), Normalizer(), std::move(pre_tokenizer),
                                           std::move(post_processor), Decoder::byte_level()});
}

const std::string* Tokenizer::Impl::token(int32_t id) const {
  if (const AddedToken* found = added.find(id)) return &found->decoded;
  return model.token(id);
}

Tokenizer Tokenizer::from_files(const TokenizerFiles& files, std::string_view source) {
  if (files.tokenizer_json) {
    return Tokenizer(Impl::from_json(*files.tokenizer_json, fmt::format("{}: tokenizer.json", source)));
  }
  if (files.empty()) {
    fail(
        "{}: there is no tokenizer (expected tokenizer.json, or vocab.json and merges.txt); token ids can still be "
        "given with --ids",
        source);
  }
  return Tokenizer(Impl::from_vocab_and_merges(files, source));
}

Tokenizer::Tokenizer(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

std::vector<int32_t> Tokenizer::encode(std::string_view utf8, bool add_special) const {
  if (const size_t valid = valid_utf8_prefix(utf8); valid != utf8.size()) {
    fail("the text is not UTF-8: byte 0x{:02X} at position {} is no part of a character",
         static_cast<unsigned char>(utf8[valid]), valid);
  }
  const Budget budget(utf8.size());
  budget.check_size(utf8.size());
  BpeModel::Scratch scratch;
  std::vector<int32_t> ids;
  const auto encode_words = [&](std::string text, bool at_start) {
    Words words{std::move(text), {}, at_start};
    words.words.push_back({0, words.text.size()});
    impl_->pre_tokenizer.apply(words, budget);
    for (const Span& word : words.words) {
      impl_->model.encode(std::string_view(words.text).substr(word.begin, word.end - word.begin), scratch, ids);
    }
  };
  for (const AddedTokens::Part& raw : impl_->added.split_raw(utf8)) {
    if (raw.id >= 0) {
      ids.push_back(raw.id);
      continue;
    }
    const std::string text = impl_->normalizer.normalize(utf8.substr(raw.begin, raw.end - raw.begin), budget);
    for (const AddedTokens::Part& part : impl_->added.split_normalized(text)) {
      if (part.id >= 0) {
        ids.push_back(part.id);
      } else {
        encode_words(text.substr(part.begin, part.end - part.begin), raw.begin == 0 && part.begin == 0);
      }
    }
  }
  return impl_->post_processor.apply(std::move(ids), add_special);
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  std::vector<std::string> tokens;
  size_t bytes = 0;
  for (const int32_t id : ids) {
    const std::string* token = impl_->token(id);
    if (!token || (skip_special && is_special(id))) continue;
    tokens.push_back(*token);
    bytes += token->size();
  }
  return impl_->decoder.decode(std::move(tokens), Budget(bytes));
}

std::vector<std::string> Tokenizer::pieces(std::span<const int32_t> ids) const {
  const Budget budget(ids.size() * 8);
  std::vector<std::string> out;
  out.reserve(ids.size());
  for (const int32_t id : ids) {
    if (const AddedToken* added = impl_->added.find(id)) {
      out.push_back(added->content);
    } else if (const std::string* token = impl_->model.token(id)) {
      out.push_back(impl_->decoder.piece(*token, budget));
    } else {
      out.push_back(fmt::format("<id {}>", id));
    }
  }
  return out;
}

bool Tokenizer::is_special(int32_t id) const {
  const AddedToken* added = impl_->added.find(id);
  return added && added->special;
}

int64_t Tokenizer::vocab_size() const {
  int64_t largest = impl_->model.largest_id();
  for (const AddedToken& token : impl_->added.all()) largest = std::max<int64_t>(largest, token.id);
  return largest + 1;
}

bool Tokenizer::contains(int32_t id) const { return impl_->token(id) != nullptr; }

}  // namespace headscope
