#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "core/data/memory_counts.h"

namespace headscope {

/// The memory of a device at one moment, in bytes: what was allocated for known purposes, what the library that
/// allocates has beside that, and what the system says. The parts are read one after the other, so while work goes on
/// they may be some allocations apart.
struct MemoryReport {
  struct Tagged {
    int64_t bytes = 0, peak_bytes = 0;
  };

  std::string device;                          ///< "NVIDIA H200", "CPU"
  bool counted = false;                        ///< false: nobody counts, `tagged` is empty
  std::array<Tagged, memory_purposes> tagged;  ///< by MemoryPurpose
  std::optional<int64_t> untagged_bytes;       ///< in use for what has no purpose: what layers make on their way
  std::optional<int64_t> kept_bytes;           ///< free, and kept by the library for what comes next
  std::optional<int64_t> process_bytes;        ///< of this process as the system has it: on a GPU all that the
                                               ///< driver counts, on the CPU the resident pages
  std::string process_refusal;                 ///< why that is not known, or empty
  std::optional<int64_t> device_used_bytes, device_total_bytes;  ///< of the whole GPU, other programs included

  const Tagged& of(MemoryPurpose purpose) const { return tagged[static_cast<size_t>(purpose)]; }
  int64_t tagged_bytes() const {
    int64_t sum = 0;
    for (const Tagged& one : tagged) sum += one.bytes;
    return sum;
  }
};

/// This process's pages in the machine's memory, from /proc/self/statm; 0 where there is none.
int64_t resident_bytes();

}  // namespace headscope
