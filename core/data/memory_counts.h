#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace headscope {

/// What bytes are for. KV is what a model needs to go on; viewer bytes are kept only so that they can be looked at
/// (queries, log-sum-exps, statistics, buffers that growth replaced but a snapshot still holds); scratch is what
/// kernels need for one call.
enum class MemoryPurpose { kv, viewer, weights, scratch };
inline constexpr size_t memory_purposes = 4;
/// As readouts and JSON have them.
inline constexpr std::string_view memory_purpose_names[memory_purposes] = {"cache", "run", "weights", "scratch"};

/// Bytes by purpose, counted where storage is made and released. Thread-safe.
class MemoryCounts {
 public:
  void add(MemoryPurpose purpose, int64_t bytes) {
    Entry& entry = entries_[static_cast<size_t>(purpose)];
    const int64_t now = entry.now.fetch_add(bytes) + bytes;
    int64_t peak = entry.peak.load();
    while (now > peak && !entry.peak.compare_exchange_weak(peak, now)) {
    }
  }
  void subtract(MemoryPurpose purpose, int64_t bytes) { entries_[static_cast<size_t>(purpose)].now.fetch_sub(bytes); }

  int64_t bytes(MemoryPurpose purpose) const { return entries_[static_cast<size_t>(purpose)].now.load(); }
  /// Largest value that bytes() ever had; above the final one while a growing buffer is copied.
  int64_t peak_bytes(MemoryPurpose purpose) const { return entries_[static_cast<size_t>(purpose)].peak.load(); }

 private:
  struct Entry {
    std::atomic<int64_t> now{0}, peak{0};
  };
  std::array<Entry, memory_purposes> entries_;
};

/// Bytes that are counted for as long as this lives. Borrows the counts, which may be null: nobody counts.
class CountedBytes {
 public:
  CountedBytes(MemoryCounts* counts, MemoryPurpose purpose, int64_t bytes)
      : counts_(counts), purpose_(purpose), bytes_(bytes) {
    if (counts_ != nullptr) counts_->add(purpose_, bytes_);
  }
  ~CountedBytes() {
    if (counts_ != nullptr) counts_->subtract(purpose_, bytes_);
  }
  CountedBytes(const CountedBytes&) = delete;
  CountedBytes& operator=(const CountedBytes&) = delete;

 private:
  MemoryCounts* counts_;
  MemoryPurpose purpose_;
  int64_t bytes_;
};

}  // namespace headscope
