#pragma once

#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "core/base/error.h"
#include "core/data/device.h"

namespace headscope::testing {

/// A stream that puts its work off until it is waited for, as a GPU may: who does not wait sees what was there before.
class LateStream {
 public:
  LateStream() = default;
  ~LateStream() { wait(); }
  void give(std::function<void()> work) {
    const std::lock_guard lock(mutex_);
    ++given_;
    open_.push_back(std::move(work));
  }
  void wait() {
    const std::lock_guard lock(mutex_);
    for (const auto& work : std::exchange(open_, {})) work();
  }
  bool idle() const {
    const std::lock_guard lock(mutex_);
    return open_.empty();
  }
  int given() const {
    const std::lock_guard lock(mutex_);
    return given_;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::function<void()>> open_;
  int given_ = 0;
};

/// A kernel whose tiles are done by `stream()`, which must be a LateStream. The rest is as it was.
template <const AttentionKernel& (*kKernel)()>
AttentionKernel late_tiles() {
  AttentionKernel kernel = kKernel();
  kernel.tiles = [](const AttentionProblem& p, const float* row_max, const float* log_sum,
                    std::span<const TileRequest> requests, std::span<float* const> cells, std::span<std::byte> memory,
                    const ParallelFor& workers, std::stop_token stop) {
    if (workers.stream() == nullptr) throw std::logic_error("tiles on the default stream");
    static_cast<LateStream*>(workers.stream())
        ->give(
            [=, asked = std::vector(requests.begin(), requests.end()), to = std::vector(cells.begin(), cells.end())] {
              kKernel().tiles(p, row_max, log_sum, asked, to, memory, SerialFor(), {});
            });
    return !stop.stop_requested();
  };
  return kernel;
}

/// How a device without a GPU records: it does the work anew each time, as it was given, and forbids what a GPU forbids
/// in it. `refused`: there is no memory for a recording; `but_fails`: repeating it fails.
enum class Records { never, yes, refused, but_fails };

/// A device that plain code must not read, in the host's memory: what models and runs do with a GPU, without one. Its
/// kernels are those of the CPU, or CUDA's on the emulator. Work of its default stream is done at once, work of the
/// other when it is waited for; `broken_rules` counts what a GPU would punish now and then: memory of the default
/// stream that is released while the other may still read it, and memory of the other that the default one is given.
class Elsewhere final : public Device {
 public:
  explicit Elsewhere(std::span<const AttentionKernel> kernels, Records records = Records::never)
      : kernels_(kernels), records_(records) {}

  std::string_view name() const override { return "elsewhere"; }
  bool is_host() const override { return false; }
  bool on_gpu() const override { return false; }
  void* side_stream() const override { return &side_; }
  std::byte* allocate(size_t bytes, void* stream) const override {
    if (stream != nullptr) forbid_in_recordings("memory of another stream");
    if (fails_at_allocation-- == 0) throw std::bad_alloc();
    auto* memory = static_cast<std::byte*>(::operator new (bytes, std::align_val_t{64}));
    std::memset(memory, 0xFF, bytes);  // NaN
    const std::lock_guard lock(mutex_);
    blocks_[memory] = {bytes, stream};
    return memory;
  }
  void release(std::byte* memory, size_t bytes) const noexcept override {
    void* stream = nullptr;
    {
      const std::lock_guard lock(mutex_);
      stream = blocks_.extract(memory).mapped().stream;
      if (stream == nullptr && !side_.idle()) ++broken_rules_;
    }
    const auto free = [memory, bytes] {
      std::memset(memory, 0xFF, bytes);
      ::operator delete (memory, std::align_val_t{64});
    };
    if (stream == nullptr) return free();
    side_.give(free);
  }
  void copy(void* to, const void* from, size_t bytes, void* stream) const override {
    forbid_in_recordings("a copy");
    if (stream == nullptr) {
      check_default(to);
      check_default(from);
      std::memcpy(to, from, bytes);
      return;
    }
    // Memory of the host may be used again when this returns, and has come.
    const auto* numbers = static_cast<const std::byte*>(from);
    if (!stream_of(from)) {
      side_.give([to, kept = std::vector(numbers, numbers + bytes)] { std::memcpy(to, kept.data(), kept.size()); });
    } else {
      side_.give([=] { std::memcpy(to, from, bytes); });
    }
    if (!stream_of(to)) side_.wait();
  }
  void wait(void* stream) const override {
    forbid_in_recordings("a wait");
    if (stream != nullptr) side_.wait();
  }
  MemoryReport memory() const override {
    MemoryReport report = Device::memory();
    if (!free_memory) return report;
    report.device_used_bytes = 0;
    report.device_total_bytes = *free_memory;
    return report;
  }
  bool records() const override { return records_ != Records::never; }
  std::unique_ptr<const RecordedWork> record(const std::function<void(void*)>& work) const override {
    if (records_ == Records::refused) fail("no memory");
    ++recordings;
    return std::make_unique<Again>(*this, work);
  }
  std::span<const AttentionKernel> kernels() const override { return kernels_; }
  MemoryCounts* counts() const override { return &counts_; }

  const LateStream& side() const { return side_; }
  int broken_rules() const {
    const std::lock_guard lock(mutex_);
    return broken_rules_;
  }

  mutable int recordings = 0, repeats = 0;
  mutable int fails_after = -1;          ///< repeats; with but_fails
  mutable int fails_at_allocation = -1;  ///< the first one after so many more
  std::optional<int64_t> free_memory;    ///< what it says that it has

 private:
  class Again final : public RecordedWork {
   public:
    Again(const Elsewhere& device, std::function<void(void*)> work) : device_(device), work_(std::move(work)) {}
    void run() const override {
      if (device_.records_ == Records::but_fails && device_.repeats == device_.fails_after) fail("it failed");
      ++device_.repeats;
      device_.repeating_ = true;
      try {
        work_(nullptr);
      } catch (...) {
        device_.repeating_ = false;
        throw;
      }
      device_.repeating_ = false;
    }

   private:
    const Elsewhere& device_;
    std::function<void(void*)> work_;
  };

  void forbid_in_recordings(const char* what) const {
    if (repeating_) throw std::logic_error(std::string(what) + " in recorded work");
  }

  struct Block {
    size_t bytes = 0;
    void* stream = nullptr;
  };
  /// For which stream the memory was allocated; nothing: it is the host's.
  std::optional<void*> stream_of(const void* address) const {
    const std::lock_guard lock(mutex_);
    const auto* at = static_cast<const std::byte*>(address);
    auto next = blocks_.upper_bound(const_cast<std::byte*>(at));
    if (next == blocks_.begin()) return std::nullopt;
    const auto& [begin, block] = *--next;
    return at < begin + block.bytes ? std::optional(block.stream) : std::nullopt;
  }
  void check_default(const void* address) const {
    if (stream_of(address).value_or(nullptr) == nullptr) return;
    const std::lock_guard lock(mutex_);
    ++broken_rules_;
  }

  std::span<const AttentionKernel> kernels_;
  Records records_;
  mutable MemoryCounts counts_;
  mutable LateStream side_;
  mutable std::mutex mutex_;
  mutable std::map<std::byte*, Block> blocks_;
  mutable int broken_rules_ = 0;
  mutable bool repeating_ = false;
};

}  // namespace headscope::testing
