#include "core/data/memory_report.h"

#include <unistd.h>

#include <fstream>

namespace headscope {

int64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  int64_t pages = 0, resident = 0;
  statm >> pages >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

}  // namespace headscope
