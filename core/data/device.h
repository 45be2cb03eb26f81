#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "kernels/kernels.h"

namespace headscope {

/// Work that a device keeps and does again, in the order of its default stream, with what lies in its memory then.
class RecordedWork {
 public:
  virtual ~RecordedWork() = default;
  /// Throws Error.
  virtual void run() const = 0;
};

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

  /// Of its memory, as its driver tells now; nothing where nobody counts, as for the host.
  virtual std::optional<int64_t> free_bytes() const { return std::nullopt; }

  /// Whether record() may be called.
  virtual bool records() const { return false; }
  /// Keeps what `work` gives to the stream that it is called with, and LibTorch's operations in it, instead of doing
  /// it. Memory that `work` takes stays its own for as long as the recording lives; it may neither wait nor copy from
  /// or to the host, and is called once. Throws Error, and what `work` throws.
  virtual std::unique_ptr<const RecordedWork> record(const std::function<void(void* stream)>& work) const;

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
