#pragma once

#include <cstddef>
#include <span>

#include "core/data/device.h"

namespace headscope {

/// Uninitialised memory, 64-byte aligned, for kernels, which never allocate, on one stream. Borrows the device.
class Workspace {
 public:
  explicit Workspace(size_t bytes, const Device& device = *host(), void* stream = nullptr,
                     MemoryPurpose purpose = MemoryPurpose::scratch)
      : device_(device),
        bytes_(bytes),
        data_(device.allocate(bytes, stream)),
        counted_(device.counts(), purpose, static_cast<int64_t>(bytes)) {}
  ~Workspace() { device_.release(data_, bytes_); }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  std::span<std::byte> span() const { return {data_, bytes_}; }

 private:
  const Device& device_;
  size_t bytes_;
  std::byte* data_;
  CountedBytes counted_;
};

}  // namespace headscope
