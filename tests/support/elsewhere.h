#pragma once

#include <cstring>
#include <new>

#include "core/data/device.h"

namespace headscope::testing {

/// A device that plain code must not read, in the host's memory: what models and runs do with a GPU, without one. Its
/// kernels are those of the CPU, or CUDA's on the emulator.
class Elsewhere final : public Device {
 public:
  explicit Elsewhere(std::span<const AttentionKernel> kernels) : kernels_(kernels) {}

  std::string_view name() const override { return "elsewhere"; }
  bool is_host() const override { return false; }
  bool on_gpu() const override { return false; }
  std::byte* allocate(size_t bytes) const override {
    auto* memory = static_cast<std::byte*>(::operator new (bytes, std::align_val_t{64}));
    std::memset(memory, 0xFF, bytes);  // NaN
    return memory;
  }
  void release(std::byte* memory, size_t) const noexcept override { ::operator delete (memory, std::align_val_t{64}); }
  void copy(void* to, const void* from, size_t bytes, void*) const override { std::memcpy(to, from, bytes); }
  std::span<const AttentionKernel> kernels() const override { return kernels_; }

 private:
  std::span<const AttentionKernel> kernels_;
};

}  // namespace headscope::testing
