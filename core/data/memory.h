#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include "core/data/device.h"

namespace headscope {

/// What a buffer's bytes are for. KV is what a model needs to go on; viewer bytes are kept only so that they can
/// be looked at (queries, log-sum-exps, statistics, buffers that growth replaced but a snapshot still holds).
enum class MemoryPurpose { kv, viewer };

/// Where the buffers of a run lie, and their bytes by purpose, counted where storage is made and released. Thread-safe.
class MemoryLedger {
 public:
  explicit MemoryLedger(std::shared_ptr<const Device> device = host()) : device_(std::move(device)) {}
  const Device& device() const { return *device_; }

  void add(MemoryPurpose purpose, int64_t bytes) {
    Entry& entry = entry_of(purpose);
    const int64_t now = entry.now.fetch_add(bytes) + bytes;
    int64_t peak = entry.peak.load();
    while (now > peak && !entry.peak.compare_exchange_weak(peak, now)) {
    }
  }
  void subtract(MemoryPurpose purpose, int64_t bytes) { entry_of(purpose).now.fetch_sub(bytes); }

  int64_t bytes(MemoryPurpose purpose) const { return entries_[static_cast<size_t>(purpose)].now.load(); }
  /// Largest value that bytes() ever had; above the final one while a growing buffer is copied.
  int64_t peak_bytes(MemoryPurpose purpose) const { return entries_[static_cast<size_t>(purpose)].peak.load(); }

 private:
  struct Entry {
    std::atomic<int64_t> now{0}, peak{0};
  };
  Entry& entry_of(MemoryPurpose purpose) { return entries_[static_cast<size_t>(purpose)]; }
  std::shared_ptr<const Device> device_;
  std::array<Entry, 2> entries_;
};

}  // namespace headscope
