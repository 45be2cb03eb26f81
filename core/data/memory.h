#pragma once

#include <memory>
#include <utility>

#include "core/data/device.h"

namespace headscope {

/// Where the buffers of a run lie, and their bytes by purpose; the device counts them, too. Thread-safe.
class MemoryLedger {
 public:
  explicit MemoryLedger(std::shared_ptr<const Device> device = host()) : device_(std::move(device)) {}
  const Device& device() const { return *device_; }

  void add(MemoryPurpose purpose, int64_t bytes) {
    counts_.add(purpose, bytes);
    if (MemoryCounts* all = device_->counts()) all->add(purpose, bytes);
  }
  void subtract(MemoryPurpose purpose, int64_t bytes) {
    counts_.subtract(purpose, bytes);
    if (MemoryCounts* all = device_->counts()) all->subtract(purpose, bytes);
  }

  int64_t bytes(MemoryPurpose purpose) const { return counts_.bytes(purpose); }
  int64_t peak_bytes(MemoryPurpose purpose) const { return counts_.peak_bytes(purpose); }

 private:
  std::shared_ptr<const Device> device_;
  MemoryCounts counts_;
};

}  // namespace headscope
