#include "core/tokenizer/pre_tokenizer.h"

#include <algorithm>

#include "core/base/text.h"
#include "core/tokenizer/byte_level.h"
#include "core/tokenizer/unicode.h"

namespace headscope {

PreTokenizer::PreTokenizer(const Component& component) { add(component); }

void PreTokenizer::add(const Component& component) {
  const std::string type = component.type();
  if (type == "Sequence") {
    for (size_t i = 0; i < component.array("pretokenizers").size(); ++i) add(component.element("pretokenizers", i));
  } else if (type == "ByteLevel") {
    // "trim_offsets" is about character offsets, which are not given out here.
    add_byte_level(component.boolean("add_prefix_space", true), component.boolean("use_regex", true),
                   component.where());
  } else if (type == "Split") {
    steps_.push_back(Split{Pattern::from(component), behavior_of(component, ""), component.boolean("invert", false)});
  } else if (type == "Digits") {
    const bool individual = component.boolean("individual_digits", false);
    steps_.push_back(Characters{is_number, individual ? Behavior::isolated : Behavior::contiguous});
  } else if (type == "Punctuation") {
    steps_.push_back(Characters{is_punctuation, behavior_of(component, "Isolated")});
  } else if (type == "Metaspace") {
    steps_.push_back(Metaspace::from(component));
  } else {
    component.refuse_type("ByteLevel, Digits, Metaspace, Punctuation, Sequence, Split");
  }
}

void PreTokenizer::add_byte_level(bool prefix_space, bool use_regex, const std::string& where) {
  if (prefix_space) steps_.push_back(PrefixSpace{});
  if (use_regex) steps_.push_back(Split{Pattern(Regex(gpt2_word_pattern, where)), Behavior::isolated, false});
  steps_.push_back(BytesAsCharacters{});
}

/// An empty fallback: the field must be there.
PreTokenizer::Behavior PreTokenizer::behavior_of(const Component& component, std::string_view fallback) {
  const std::string name = fallback.empty() ? component.text("behavior") : component.text("behavior", fallback);
  if (name == "Removed") return Behavior::removed;
  if (name == "Isolated") return Behavior::isolated;
  if (name == "MergedWithPrevious") return Behavior::merged_with_previous;
  if (name == "MergedWithNext") return Behavior::merged_with_next;
  if (name == "Contiguous") return Behavior::contiguous;
  component.refuse(fmt::format("has the behavior {}, which is not supported", quoted(name)));
}

/// Puts matches and the parts between them together as `behavior` says; only `removed` leaves marked parts.
void PreTokenizer::join(std::vector<Span>& parts, Behavior behavior) {
  if (behavior == Behavior::removed || behavior == Behavior::isolated) return;
  const bool backwards = behavior == Behavior::merged_with_next;
  if (backwards) std::reverse(parts.begin(), parts.end());
  std::vector<Span> joined;
  bool previous = false;
  for (const Span& part : parts) {
    const bool together = behavior == Behavior::contiguous ? part.is_match == previous : part.is_match && !previous;
    previous = part.is_match;
    if (!together || joined.empty()) {
      joined.push_back(part);
    } else if (backwards) {
      joined.back().begin = part.begin;
    } else {
      joined.back().end = part.end;
    }
  }
  if (backwards) std::reverse(joined.begin(), joined.end());
  parts = std::move(joined);
}

/// Replaces each word by the parts that `cut` makes of it.
template <class Cut>
void PreTokenizer::cut_words(Words& words, Behavior behavior, const Cut& cut) {
  std::vector<Span> result;
  for (const Span& word : words.words) {
    std::vector<Span> parts = cut(std::string_view(words.text).substr(word.begin, word.end - word.begin));
    join(parts, behavior);
    for (const Span& part : parts) {
      const bool removed = behavior == Behavior::removed && part.is_match;
      if (!removed && part.begin != part.end) result.push_back({word.begin + part.begin, word.begin + part.end});
    }
  }
  words.words = std::move(result);
}

/// `rewrite(out, word, index)` appends the word's new text.
template <class Rewrite>
void PreTokenizer::rewrite_words(Words& words, const Budget& budget, const Rewrite& rewrite) {
  std::string text;
  text.reserve(words.text.size() + words.text.size() / 4);
  for (size_t i = 0; i < words.words.size(); ++i) {
    Span& word = words.words[i];
    const size_t begin = text.size();
    rewrite(text, std::string_view(words.text).substr(word.begin, word.end - word.begin), i);
    word = {begin, text.size()};
    budget.check_size(text.size());
  }
  words.text = std::move(text);
}

void PreTokenizer::run(const Split& step, Words& words, const Budget& budget) {
  Pattern::Cutter cutter(step.pattern, budget);
  cut_words(words, step.behavior, [&](std::string_view word) {
    std::vector<Span> parts = cutter.cut(word);
    if (step.invert) {
      for (Span& part : parts) part.is_match = !part.is_match;
    }
    return parts;
  });
}

void PreTokenizer::run(const PrefixSpace&, Words& words, const Budget& budget) {
  rewrite_words(words, budget, [](std::string& out, std::string_view word, size_t) {
    if (!word.starts_with(' ')) out += ' ';
    out += word;
  });
}

void PreTokenizer::run(const BytesAsCharacters&, Words& words, const Budget& budget) {
  rewrite_words(words, budget, [](std::string& out, std::string_view word, size_t) { append_byte_level(out, word); });
}

void PreTokenizer::run(const Characters& step, Words& words, const Budget&) {
  cut_words(words, step.behavior, [&](std::string_view word) {
    std::vector<Span> parts;
    for (size_t i = 0; i < word.size();) {
      const size_t begin = i;
      const bool match = step.matches(decode_utf8(word, i));
      if (!match && !parts.empty() && !parts.back().is_match) {
        parts.back().end = i;
      } else {
        parts.push_back({begin, i, match});
      }
    }
    return parts;
  });
}

void PreTokenizer::run(const Metaspace& step, Words& words, const Budget& budget) {
  rewrite_words(words, budget, [&](std::string& out, std::string_view word, size_t index) {
    const bool wanted = step.prepend == Metaspace::Prepend::always ||
                        (step.prepend == Metaspace::Prepend::first && words.at_start && index == 0);
    if (wanted && !word.starts_with(' ') && !word.starts_with(step.replacement)) out += step.replacement;
    for (const char c : word) {
      if (c == ' ') {
        out += step.replacement;
      } else {
        out += c;
      }
    }
  });
  if (!step.split) return;
  const Pattern pattern(step.replacement);
  Pattern::Cutter cutter(pattern, budget);
  cut_words(words, Behavior::merged_with_next, [&](std::string_view word) { return cutter.cut(word); });
}

void PreTokenizer::apply(Words& words, const Budget& budget) const {
  for (const Step& step : steps_) {
    std::visit([&](const auto& which) { run(which, words, budget); }, step);
  }
}

}  // namespace headscope
