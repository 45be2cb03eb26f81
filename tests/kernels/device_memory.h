#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "tests/kernels/view_extent.h"

namespace headscope::testing {

/// Memory that kernels under test read and write: a GPU's, or ordinary memory in its place. Immutable; any thread.
/// Errors are std::runtime_error with what the driver said.
class DeviceMemory {
 public:
  virtual ~DeviceMemory() = default;

  /// An address range of `bytes`, 256-byte aligned, with memory behind `used` (ascending) at least: an access elsewhere
  /// may be an error. Given back with the last pointer.
  virtual std::shared_ptr<std::byte> allocate(size_t bytes, std::span<const ByteRange> used) const = 0;
  virtual void to_device(std::byte* to, const std::byte* from, size_t bytes) const = 0;
  virtual void from_device(std::byte* to, const std::byte* from, size_t bytes) const = 0;
  /// Waits until all that was started is done, and throws its first error.
  virtual void finish() const = 0;
};

/// Ordinary memory: pages come as they are written.
std::unique_ptr<const DeviceMemory> host_memory();

/// Memory of a GPU, by the CUDA runtime; it becomes the calling thread's current device.
std::unique_ptr<const DeviceMemory> cuda_memory(int device);

}  // namespace headscope::testing
