#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace headscope::cli::bench {

/// What a measurement was made on.
struct Machine {
  std::string cpu;  ///< as the processor calls itself
  int cores = 0;    ///< that this process may use
  int64_t l3_bytes = 0;
  int64_t memory_bytes = 0;
  std::vector<std::string> vector_targets;  ///< Highway's names, the widest first
  double load = 0;                          ///< processes that wanted to run, on average of the last minute
};

Machine describe_machine();

/// Of memory that can be taken without swapping; 0 when the system does not say.
int64_t available_memory();

/// Bytes that do not fit into the caches: `times` the last one, but at most 1 / `share` of the available memory.
int64_t beyond_caches(int64_t times, int64_t share);

/// The field `name` of this process's /proc/self/status, in bytes: "VmRSS" is what is resident, "VmHWM" its peak.
int64_t process_bytes(const std::string& name);

/// Makes the process's peak what is resident now, where the system allows it; else the peak of its life stays.
void forget_peak();

std::string commit();   ///< that this program was built from, "-dirty" behind it when files differed; "unknown"
std::string utc_now();  ///< "2026-01-31T12:00:00Z"

}  // namespace headscope::cli::bench
