#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/views/figure.h"

namespace headscope {

/// The texts of a run's tokens by position, shared and never changed: copies cost nothing.
class TokenTexts {
 public:
  TokenTexts() : TokenTexts(std::vector<std::string>()) {}
  TokenTexts(std::vector<std::string> texts)
      : TokenTexts(std::make_shared<const std::vector<std::string>>(std::move(texts))) {}
  /// Not null.
  explicit TokenTexts(std::shared_ptr<const std::vector<std::string>> texts) : texts_(std::move(texts)) {}

  size_t size() const { return texts_->size(); }
  const std::string& operator[](size_t token) const { return (*texts_)[token]; }

 private:
  std::shared_ptr<const std::vector<std::string>> texts_;
};

/// Names tokens along one side of a map. From 11 px a token every token has its text; below that, round
/// positions do, each with its number: "20 \u00B7girl". Labels never overlap and never exceed their room.
class TokenAxis {
 public:
  struct Range {
    int64_t begin = 0, end = 0;  ///< tokens shown
    double pitch = 0;            ///< px a token
  };

  /// `pieces` are the tokens' texts by absolute position and may be fewer than `range.end`. `selected` is always
  /// labelled, brighter. Labels longer than `longest` px are shortened.
  TokenAxis(Range range, const TokenTexts& pieces, std::optional<int64_t> selected, double longest,
            const TextMeasurer& measurer);

  /// Px that the longest label takes, with the gap to the map.
  double room() const { return room_; }

  /// Draws labels left of the vertical line at `x`, tokens running down from `y`.
  void draw_left(Figure&, double x, double y) const;
  /// Draws labels below the horizontal line at `y`, reading upwards, tokens running right from `x`.
  void draw_below(Figure&, double x, double y) const;

 private:
  struct Label {
    int64_t token;
    std::string text;
    bool selected;
  };
  double centre(const Label& label) const {
    return (static_cast<double>(label.token - range_.begin) + 0.5) * range_.pitch;
  }

  Range range_;
  std::vector<Label> labels_;
  double room_ = 0;
};

/// Whether the text holds right-to-left letters, which are drawn one by one from left to right.
bool has_right_to_left(std::string_view utf8);

}  // namespace headscope
