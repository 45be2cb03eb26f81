#include "core/tokenizer/decoder.h"

#include <limits>
#include <optional>

#include "core/base/text.h"
#include "core/tokenizer/byte_level.h"
#include "core/tokenizer/unicode.h"

namespace headscope {
namespace {

std::optional<int> hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return std::nullopt;
}

/// The byte that "<0x4F>" stands for.
std::optional<char> fallback_byte(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') return std::nullopt;
  const auto high = hex_digit(token[3]), low = hex_digit(token[4]);
  if (!high || !low) return std::nullopt;
  return static_cast<char>(*high * 16 + *low);
}

std::string with_character_replaced(std::string_view token, std::string_view from, std::string_view to) {
  std::string out;
  for (size_t i = 0; i < token.size();) {
    if (token.substr(i).starts_with(from)) {
      out += to;
      i += from.size();
    } else {
      out += token[i++];
    }
  }
  return out;
}

}  // namespace

Decoder::Decoder(const Component& component) : joins_with_spaces_(false) { add(component); }

Decoder Decoder::byte_level() {
  Decoder result;
  result.joins_with_spaces_ = false;
  result.steps_.push_back(ByteLevel{});
  return result;
}

void Decoder::add(const Component& component) {
  const std::string type = component.type();
  if (type == "Sequence") {
    for (size_t i = 0; i < component.array("decoders").size(); ++i) add(component.element("decoders", i));
  } else if (type == "ByteLevel") {
    steps_.push_back(ByteLevel{});
  } else if (type == "ByteFallback") {
    steps_.push_back(ByteFallback{});
  } else if (type == "Fuse") {
    steps_.push_back(Fuse{});
  } else if (type == "Metaspace") {
    steps_.push_back(Metaspace::from(component));
  } else if (type == "Replace") {
    steps_.push_back(Replace{Pattern::from(component), component.text("content")});
  } else if (type == "Strip") {
    steps_.push_back(Strip{component.character("content"), component.count("start"), component.count("stop")});
  } else {
    component.refuse_type("ByteFallback, ByteLevel, Fuse, Metaspace, Replace, Sequence, Strip");
  }
}

void Decoder::run(const ByteLevel&, Tokens& tokens, const Budget&) {
  std::string bytes;
  for (const std::string& token : tokens) {
    // A token outside the alphabet (an added one) stands for its own text.
    bytes += byte_level_bytes(token).value_or(token);
  }
  tokens = {utf8_with_replacements(bytes)};
}

/// Each run of byte tokens becomes its text, or one U+FFFD a byte if any of it is no UTF-8.
void Decoder::run(const ByteFallback&, Tokens& tokens, const Budget&) {
  Tokens out;
  std::string bytes;
  const auto flush = [&] {
    if (valid_utf8_prefix(bytes) == bytes.size()) {
      if (!bytes.empty()) out.push_back(bytes);
    } else {
      out.insert(out.end(), bytes.size(), "\xEF\xBF\xBD");
    }
    bytes.clear();
  };
  for (std::string& token : tokens) {
    if (const auto byte = fallback_byte(token)) {
      bytes += *byte;
    } else {
      flush();
      out.push_back(std::move(token));
    }
  }
  flush();
  tokens = std::move(out);
}

void Decoder::run(const Fuse&, Tokens& tokens, const Budget&) {
  std::string all;
  for (const std::string& token : tokens) all += token;
  tokens = {std::move(all)};
}

void Decoder::run(const Metaspace& step, Tokens& tokens, const Budget&) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    const bool removed = i == 0 && step.prepend != Metaspace::Prepend::never;
    tokens[i] = with_character_replaced(tokens[i], step.replacement, removed ? "" : " ");
  }
}

void Decoder::run(const Replace& step, Tokens& tokens, const Budget& budget) {
  for (std::string& token : tokens) token = step.pattern.replaced(token, step.content, budget);
}

void Decoder::run(const Strip& step, Tokens& tokens, const Budget&) {
  for (std::string& token : tokens) {
    std::string_view rest = token;
    for (size_t i = 0; i < step.start && rest.starts_with(step.character); ++i) {
      rest.remove_prefix(step.character.size());
    }
    for (size_t i = 0; i < step.stop && rest.ends_with(step.character); ++i) {
      rest.remove_suffix(step.character.size());
    }
    token = std::string(rest);
  }
}

std::string Decoder::decode(std::vector<std::string> tokens, const Budget& budget) const {
  for (const Step& step : steps_) {
    std::visit([&](const auto& which) { run(which, tokens, budget); }, step);
  }
  std::string out;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (joins_with_spaces_ && i > 0) out += ' ';
    out += tokens[i];
  }
  return out;
}

std::string Decoder::piece(std::string_view token, const Budget& budget) const {
  std::string text(token);
  for (const Step& step : steps_) {
    // Part of a character: nothing that follows could apply to it.
    if (valid_utf8_prefix(text) != text.size()) break;
    if (std::holds_alternative<ByteLevel>(step)) {
      text = byte_level_bytes(text).value_or(text);
    } else if (std::holds_alternative<ByteFallback>(step)) {
      if (const auto byte = fallback_byte(text)) text = std::string(1, *byte);
    } else if (const auto* replace = std::get_if<Replace>(&step)) {
      text = replace->pattern.replaced(text, replace->content, budget);
    } else if (const auto* metaspace = std::get_if<Metaspace>(&step)) {
      text = with_character_replaced(text, metaspace->replacement, " ");
    }
  }
  return utf8_with_hex(text);
}

}  // namespace headscope
