#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/data/memory_report.h"
#include "kernels/kernels.h"

namespace headscope {

/// Work that a device keeps and does again, in the order of its default stream, with what lies in its memory then.
class RecordedWork {
 public:
  virtual ~RecordedWork() = default;
  /// Throws Error.
  virtual void run() const = 0;
};

/// Where buffers lie, and the attention kernels that read them there: the host, or a GPU. Immutable but for what it
/// counts; all functions may be called from any thread. What takes a stream is done in the stream's order, null being
/// the default one; the host waits where its own memory is copied from or to.
///
/// Models run on the default stream. What is looked at meanwhile goes to `side_stream()`, so as not to stand in line
/// behind a model. Neither waits for the other: what one reads of the other's memory must be complete before
/// (Run::snapshot waits for it), and is not given back before that stream was waited for.
class Device {
 public:
  virtual ~Device() = default;

  virtual std::string_view name() const = 0;                 ///< as outputs have it: "cpu", "cuda"
  virtual std::string_view title() const { return name(); }  ///< as people know it: "CPU", "NVIDIA H200"
  virtual bool is_host() const = 0;                          ///< whether plain code may read its memory
  virtual bool on_gpu() const = 0;                           ///< whether LibTorch calls it CUDA

  /// The one stream beside the default one, lent for as long as the device lives; null on the host.
  virtual void* side_stream() const { return nullptr; }

  /// Uninitialised, 64-byte aligned, for work of this stream: what released it may still be in line there, on no other.
  /// Throws std::bad_alloc, on a GPU Error with what was needed and what is free.
  virtual std::byte* allocate(size_t bytes, void* stream = nullptr) const = 0;
  /// In the order of the stream that it was allocated for.
  virtual void release(std::byte*, size_t bytes) const noexcept = 0;
  /// Between its memory and itself or the host, without overlap. Throws Error.
  virtual void copy(void* to, const void* from, size_t bytes, void* stream = nullptr) const = 0;
  /// Until all that the stream was given is done. Throws Error with the first failure of it.
  virtual void wait(void* stream = nullptr) const = 0;

  /// Bytes of what was allocated on it, by purpose: who allocates tells. Null where nobody counts.
  virtual MemoryCounts* counts() const { return nullptr; }
  /// What is known of its memory now. May take milliseconds on a GPU.
  virtual MemoryReport memory() const;

  /// Whether record() may be called.
  virtual bool records() const { return false; }
  /// Keeps what `work` gives to the stream that it is called with, and LibTorch's operations in it, instead of doing
  /// it. Memory that `work` takes, for no stream by name, stays its own for as long as the recording lives; it may
  /// neither wait nor copy from or to the host, and is called once. Throws Error, and what `work` throws.
  virtual std::unique_ptr<const RecordedWork> record(const std::function<void(void* stream)>& work) const;

  /// Kernels that read its memory, the fastest last.
  virtual std::span<const AttentionKernel> kernels() const = 0;
};

/// Waits for a stream when it goes, however that comes about: nothing that was lent to the stream's work is in use
/// then. Borrows the device.
class StreamEnd {
 public:
  StreamEnd(const Device& device, void* stream) : device_(device), stream_(stream) {}
  ~StreamEnd();
  StreamEnd(const StreamEnd&) = delete;
  StreamEnd& operator=(const StreamEnd&) = delete;

 private:
  const Device& device_;
  void* stream_;
};

/// The machine itself, with the kernels of its processor. All share it, and nobody counts its bytes.
std::shared_ptr<const Device> host();
/// One of its own for whoever wants its bytes counted.
std::shared_ptr<const Device> counting_host();

/// Throws the Error that is said where the memory of a device is full.
[[noreturn]] void throw_memory_full(std::string_view device, std::string_view details);
/// Throws the Error that is said of a device that failed, or whose memory is full, by what CUDA or LibTorch says.
[[noreturn]] void throw_device_error(const std::string& message);

/// The fastest kernel that can run the problem. Throws Error where none can.
const AttentionKernel& kernel_for(const Device&, const AttentionProblem&);

}  // namespace headscope
