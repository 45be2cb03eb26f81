#include "app/cli/bench/machine.h"

#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <thread>

#include "commit.h"
#include "kernels/bench/limits.h"

namespace headscope::cli::bench {
namespace {

/// What stands behind "name:" in a file of such lines; empty when it is not there.
std::string field(const char* path, const std::string& name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(':');
    if (colon == line.npos || line.substr(0, line.find_last_not_of(" \t", colon - 1) + 1) != name) continue;
    const size_t begin = line.find_first_not_of(" \t", colon + 1);
    return begin == line.npos ? "" : line.substr(begin);
  }
  return "";
}

int64_t kib_field(const char* path, const std::string& name) {
  const std::string text = field(path, name);
  return text.empty() ? 0 : std::stoll(text) * 1024;
}

/// The last-level cache; without a word from the system a common size.
int64_t l3_bytes() {
  std::ifstream file("/sys/devices/system/cpu/cpu0/cache/index3/size");
  int64_t kib = 0;
  return file >> kib && kib > 0 ? kib * 1024 : int64_t{32} << 20;
}

int usable_cores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
  return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

}  // namespace

Machine describe_machine() {
  double load = 0;
  if (getloadavg(&load, 1) != 1) load = 0;
  const std::string cpu = field("/proc/cpuinfo", "model name");
  return {cpu.empty() ? "unknown" : cpu,          usable_cores(),   l3_bytes(),
          kib_field("/proc/meminfo", "MemTotal"), vector_targets(), load};
}

int64_t available_memory() { return kib_field("/proc/meminfo", "MemAvailable"); }

int64_t beyond_caches(int64_t times, int64_t share) {
  const int64_t wanted = times * l3_bytes(), available = available_memory();
  return available > 0 ? std::min(wanted, available / share) : wanted;
}

int64_t process_bytes(const std::string& name) { return kib_field("/proc/self/status", name); }

void forget_peak() { std::ofstream("/proc/self/clear_refs") << "5"; }

std::string commit() { return HEADSCOPE_COMMIT; }

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts)};
}

}  // namespace headscope::cli::bench
