#include "core/views/token_flow.h"

#include <algorithm>

namespace headscope {

void TokenList::push_back(TokenText token) {
  const int64_t place = size_ % block_size;
  if (place == 0) blocks_.push_back(std::make_shared<Block>());
  (*blocks_.back())[static_cast<size_t>(place)] = std::move(token);
  ++size_;
}

void TokenFlow::set_width(double width) {
  if (width == width_) return;
  width_ = width;
  line_starts_.clear();
  end_ = 0;
  for (size_t i = 0; i < places_.size(); ++i) place(i);
}

void TokenFlow::append(TokenText token, const TextMeasurer& measurer) {
  const Label& label = label_of(token.piece, measurer);
  token.label = label.text;
  places_.push_back({0, static_cast<float>(label.width), token.piece.find('\n') != std::string::npos});
  tokens_.push_back(std::move(token));
  place(places_.size() - 1);
}

void TokenFlow::clear() {
  tokens_ = {};
  places_.clear();
  line_starts_.clear();
  end_ = 0;
}

/// Puts chip `index` behind the one before it, or at the start of a line.
void TokenFlow::place(size_t index) {
  Place& chip = places_[index];
  const double width = chip_width(chip);
  if (index == 0 || places_[index - 1].ends_line || end_ + width > width_) {
    line_starts_.push_back(static_cast<int64_t>(index));
    end_ = 0;
  }
  chip.x = static_cast<float>(end_);
  end_ += width + gap;
}

double TokenFlow::chip_width(const Place& place) const {
  return std::min(static_cast<double>(place.label_width) + 2 * chip_padding, width_);
}

TokenFlow::Chip TokenFlow::chip(int64_t index) const {
  const Place& place = places_[static_cast<size_t>(index)];
  return {static_cast<double>(place.x), chip_width(place)};
}

int64_t TokenFlow::line_of(int64_t token) const {
  return std::upper_bound(line_starts_.begin(), line_starts_.end(), token) - line_starts_.begin() - 1;
}

const TokenFlow::Label& TokenFlow::label_of(const std::string& piece, const TextMeasurer& measurer) {
  const auto [entry, is_new] = labels_.try_emplace(piece);
  if (is_new) {
    // Far wider than any panel says nothing more and only costs drawing.
    constexpr double longest = 480;
    entry->second.text = measurer.fitted(token_label(piece, measurer), TextRole::number, longest);
    entry->second.width = measurer.width(entry->second.text, TextRole::number);
  }
  return entry->second;
}

}  // namespace headscope
