#pragma once

#include <new>
#include <stdexcept>
#include <string>

#include <c10/util/Exception.h>

namespace headscope {

/// Runs `work`; LibTorch's own exceptions leave as ours: std::bad_alloc when its allocator failed, else a
/// std::runtime_error with the first line of the message, without the stack trace.
template <class Work>
auto with_torch_errors(const Work& work) {
  try {
    return work();
  } catch (const c10::Error& error) {
    const std::string message = error.what_without_backtrace();
    if (message.find("alloc") != std::string::npos) throw std::bad_alloc();
    throw std::runtime_error(message.substr(0, message.find('\n')));
  }
}

}  // namespace headscope
