#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "kernels/kernels.h"

namespace headscope {

/// Where buffers lie, and the attention kernels that read them there: the host, or a GPU. Immutable; all functions may
/// be called from any thread. What takes a stream is done in the stream's order, null being the default one; the host
/// waits where its own memory is copied from or to.
class Device {
 public:
  virtual ~Device() = default;

  virtual std::string_view name() const = 0;  ///< as outputs have it: "cpu", "cuda"
  virtual bool is_host() const = 0;           ///< whether plain code may read its memory
  virtual bool on_gpu() const = 0;            ///< whether LibTorch calls it CUDA

  /// Uninitialised, 64-byte aligned. Throws std::bad_alloc, on a GPU Error with what was needed and what is free.
  virtual std::byte* allocate(size_t bytes) const = 0;
  virtual void release(std::byte*, size_t bytes) const noexcept = 0;
  /// Between its memory and itself or the host, without overlap. Throws Error.
  virtual void copy(void* to, const void* from, size_t bytes, void* stream = nullptr) const = 0;

  /// Kernels that read its memory, the fastest last.
  virtual std::span<const AttentionKernel> kernels() const = 0;
};

/// The machine itself, with the kernels of its processor.
std::shared_ptr<const Device> host();

/// Throws the Error that is said of a device that failed.
[[noreturn]] void throw_device_error(const std::string& message);

/// The fastest kernel that can run the problem. Throws Error where none can.
const AttentionKernel& kernel_for(const Device&, const AttentionProblem&);

}  // namespace headscope
