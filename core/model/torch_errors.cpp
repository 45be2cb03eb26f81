#include "core/model/torch_errors.h"

#include <new>
#include <stdexcept>

#include "core/base/error.h"

namespace headscope {
namespace {

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

/// What stands between two words of a text; "an unknown amount" where they do not.
std::string between(const std::string& text, const std::string& before, const std::string& after) {
  const size_t begin = text.find(before);
  const size_t end = begin == std::string::npos ? begin : text.find(after, begin + before.size());
  if (end == std::string::npos) return "an unknown amount";
  return text.substr(begin + before.size(), end - begin - before.size());
}

}  // namespace

void throw_torch_error(const std::string& message) {
  if (message.find("CUDA out of memory") != std::string::npos) {
    throw_memory_full("the GPU",
                      fmt::format("{} more are needed, {} are free", between(message, "Tried to allocate ", ". "),
                                  between(message, "of which ", " is free")));
  }
  if (message.find("CUDA error") != std::string::npos || message.find("AcceleratorError") != std::string::npos) {
    throw_device_error(message);
  }
  if (message.find("alloc") != std::string::npos) throw std::bad_alloc();
  throw std::runtime_error(first_line(message));
}

}  // namespace headscope
