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
    steps_.push_back(split_of(component));
  } else if (type == "Digits") {
    steps_.push_back(Digits{component.boolean("individual_digits", false)});
  } else if (type == "Metaspace") {
    steps_.push_back(Metaspace::from(component));
  } else {
    component.refuse_type("ByteLevel, Digits, Metaspace, Sequence, Split");
  }
}

void PreTokenizer::add_byte_level(bool prefix_space, bool use_regex, const std::string& where) {
  if (prefix_space) steps_.push_back(PrefixSpace{});
  if (use_regex) steps_.push_back(Split{Pattern(Regex(gpt2_word_pattern, where)), Behavior::isolated, false});
  steps_.push_back(BytesAsCharacters{});
}

PreTokenizer::Step PreTokenizer::split_of(const Component& component) {
  const std::string name = component.text("behavior");
  Behavior behavior = Behavior::removed;
  if (name == "Isolated") {
    behavior = Behavior::isolated;
  } else if (name == "MergedWithPrevious") {
    behavior = Behavior::merged_with_previous;
  } else if (name == "MergedWithNext") {
    behavior = Behavior::merged_with_next;
  } else if (name == "Contiguous") {
    behavior = Behavior::contiguous;
  } else if (name != "Removed") {
    component.refuse(fmt::format("has the behavior {}, which is not supported", quoted(name)));
  }
  return Split{Pattern::from(component), behavior, component.boolean("invert", false)};
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

void PreTokenizer::run(const Digits& step, Words& words, const Budget&) {
  cut_words(words, step.individual ? Behavior::isolated : Behavior::contiguous, [](std::string_view word) {
    std::vector<Span> parts;
    for (size_t i = 0; i < word.size();) {
      const size_t begin = i;
      const bool number = is_number(decode_utf8(word, i));
      if (!number && !parts.empty() && !parts.back().is_match) {
        parts.back().end = i;
      } else {
        parts.push_back({begin, i, number});
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
