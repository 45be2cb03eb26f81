#pragma once

#include <cstddef>
#include <new>
#include <span>

namespace headscope {

/// Uninitialised scratch memory, 64-byte aligned, for kernels, which never allocate.
class Workspace {
 public:
  explicit Workspace(size_t bytes)
      : bytes_(bytes), data_(static_cast<std::byte*>(::operator new (bytes, std::align_val_t{64}))) {}
  ~Workspace() { ::operator delete (data_, std::align_val_t{64}); }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  std::span<std::byte> span() const { return {data_, bytes_}; }

 private:
  size_t bytes_;
  std::byte* data_;
};

}  // namespace headscope
