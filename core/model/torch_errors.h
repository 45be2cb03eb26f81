#pragma once

#include <string>

#include <c10/util/Exception.h>

#include "core/data/device.h"
#include "kernels/cuda/library.h"

namespace headscope {

/// Throws what is said of an error of LibTorch: Error when a GPU's memory is full or the GPU failed, std::bad_alloc
/// when the host's allocator failed, else a std::runtime_error with the first line of the message.
[[noreturn]] void throw_torch_error(const std::string& message);

/// Runs `work`; LibTorch's own exceptions, and those of CUDA kernels, leave as ours.
template <class Work>
auto with_torch_errors(const Work& work) {
  try {
    return work();
  } catch (const c10::Error& error) {
    throw_torch_error(error.what_without_backtrace());
  } catch (const CudaError& error) {
    throw_device_error(error.what());
  }
}

}  // namespace headscope
