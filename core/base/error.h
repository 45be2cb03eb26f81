#pragma once

#include <exception>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>

#include <fmt/format.h>

namespace headscope {

/// Bad input or a failed operation. The message is one clear sentence for the user: what failed, in which
/// file, tensor or key, what was expected and found, what to do. Exit code 2.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The command line or a call asks for something that makes no sense. Exit code 1.
class UsageError : public Error {
 public:
  using Error::Error;
};

/// The user stopped the work. Not an Error: nothing failed.
class Cancelled : public std::exception {
 public:
  const char* what() const noexcept override { return "cancelled"; }
};

template <class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(fmt::format(format, std::forward<Args>(args)...));
}

/// Untrusted text (tensor names, keys, paths) made fit for a message or a terminal: control characters, quotes
/// and bytes that are not UTF-8 escaped, shortened in the middle to about `limit` bytes, put in double quotes.
std::string quoted(std::string_view text, size_t limit = 80);
// Exact matches, or a std::string argument would find std::quoted through its namespace.
inline std::string quoted(const std::string& text, size_t limit = 80) { return quoted(std::string_view(text), limit); }
inline std::string quoted(std::string& text, size_t limit = 80) { return quoted(std::string_view(text), limit); }
inline std::string quoted(const char* text, size_t limit = 80) { return quoted(std::string_view(text), limit); }

/// The same for a path, with more room.
std::string quoted_path(const std::filesystem::path& path);

/// `items` joined by ", ", at most `limit` of them, then "and N more".
template <class Range>
std::string listed(const Range& items, size_t limit = 10) {
  std::string out;
  size_t count = 0;
  for (const auto& item : items) {
    if (count < limit) out += fmt::format("{}{}", count ? ", " : "", item);
    ++count;
  }
  if (count > limit) out += fmt::format(" and {} more", count - limit);
  return out;
}

}  // namespace headscope
