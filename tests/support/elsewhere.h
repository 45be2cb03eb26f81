#pragma once

#include <cstring>
#include <new>

#include "core/base/error.h"
#include "core/data/device.h"

namespace headscope::testing {

/// How a device without a GPU records: it does the work anew each time, as it was given.
enum class Records { never, yes, but_fails };

/// A device that plain code must not read, in the host's memory: what models and runs do with a GPU, without one. Its
/// kernels are those of the CPU, or CUDA's on the emulator.
class Elsewhere final : public Device {
 public:
  explicit Elsewhere(std::span<const AttentionKernel> kernels, Records records = Records::never)
      : kernels_(kernels), records_(records) {}

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
  std::optional<int64_t> free_bytes() const override { return free; }
  bool records() const override { return records_ != Records::never; }
  std::unique_ptr<const RecordedWork> record(const std::function<void(void*)>& work) const override {
    ++recordings;
    return std::make_unique<Again>(*this, work);
  }
  std::span<const AttentionKernel> kernels() const override { return kernels_; }

  mutable int recordings = 0, repeats = 0;
  mutable int fails_after = -1;  ///< repeats; with but_fails
  std::optional<int64_t> free;   ///< what it says that it has

 private:
  class Again final : public RecordedWork {
   public:
    Again(const Elsewhere& device, std::function<void(void*)> work) : device_(device), work_(std::move(work)) {}
    void run() const override {
      if (device_.records_ == Records::but_fails && device_.repeats == device_.fails_after) fail("it failed");
      ++device_.repeats;
      work_(nullptr);
    }

   private:
    const Elsewhere& device_;
    std::function<void(void*)> work_;
  };

  std::span<const AttentionKernel> kernels_;
  Records records_;
};

}  // namespace headscope::testing
