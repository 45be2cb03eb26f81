#pragma once

#include <charconv>
#include <optional>
#include <string_view>
#include <system_error>

namespace headscope::gui {

/// The number that the whole of `text` says, the same in every locale; nothing when it is none or does not fit.
template <class Number>
std::optional<Number> number_in(std::string_view text) {
  Number value{};
  const char* last = text.data() + text.size();
  const auto [end, error] = std::from_chars(text.data(), last, value);
  if (error != std::errc() || end != last) return {};
  return value;
}

}  // namespace headscope::gui
