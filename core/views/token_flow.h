#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/views/fonts.h"

namespace headscope {

/// One token as it is shown.
struct TokenText {
  int32_t id = 0;
  std::string piece;  ///< the text it stands for, as Tokenizer::pieces gives it
  bool special = false;
  std::string label = {};  ///< what its chip says; filled by TokenFlow
};

/// Tokens that are only ever appended, by one owner. Copies are for reading, cheap and share the tokens; a copy keeps
/// what it had when the owner appends, even from another thread.
class TokenList {
 public:
  void push_back(TokenText);
  int64_t size() const { return size_; }
  const TokenText& operator[](int64_t index) const {
    return (*blocks_[static_cast<size_t>(index / block_size)])[static_cast<size_t>(index % block_size)];
  }

 private:
  static constexpr int64_t block_size = 256;
  using Block = std::array<TokenText, block_size>;
  std::vector<std::shared_ptr<Block>> blocks_;
  int64_t size_ = 0;
};

/// Breaks token chips into lines. Appending one token costs microseconds however many there are; a new width breaks
/// all lines again without measuring a text twice. Not thread-safe.
class TokenFlow {
 public:
  static constexpr double chip_height = 22, gap = 4, line_pitch = chip_height + gap;
  static constexpr double chip_padding = 5;  ///< px left and right of the label

  struct Chip {
    double x = 0, width = 0;  ///< px; never wider than the flow
  };

  explicit TokenFlow(double width = 0) : width_(width) {}
  TokenFlow(const TokenFlow&) = delete;  // two owners would append to the same tokens
  TokenFlow& operator=(const TokenFlow&) = delete;

  /// Px of a line; breaks again only when it differs.
  void set_width(double);
  double width() const { return width_; }

  void append(TokenText, const TextMeasurer&);
  /// Starts over; labels that were measured stay known.
  void clear();

  int64_t size() const { return tokens_.size(); }
  const TokenText& token(int64_t index) const { return tokens_[index]; }
  const TokenList& tokens() const { return tokens_; }
  Chip chip(int64_t index) const;

  int64_t lines() const { return static_cast<int64_t>(line_starts_.size()); }
  int64_t line_begin(int64_t line) const { return line_starts_[static_cast<size_t>(line)]; }
  int64_t line_end(int64_t line) const { return line + 1 < lines() ? line_begin(line + 1) : size(); }
  int64_t line_of(int64_t token) const;

 private:
  struct Label {
    std::string text;
    double width;
  };
  struct Place {
    float x, label_width;
    bool ends_line;
  };
  void place(size_t index);
  double chip_width(const Place&) const;
  const Label& label_of(const std::string& piece, const TextMeasurer&);

  double width_;
  TokenList tokens_;
  std::vector<Place> places_;
  std::vector<int64_t> line_starts_;
  double end_ = 0;  ///< where the next chip of the last line may begin
  std::unordered_map<std::string, Label> labels_;
};

}  // namespace headscope
