#include "core/model/startup_pages.h"

#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <string_view>

namespace headscope {
namespace {

int release_pages_of(dl_phdr_info* object, size_t, void*) {
  if (std::string_view(object->dlpi_name).find("libtorch") == std::string_view::npos) return 0;
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  for (int i = 0; i < object->dlpi_phnum; ++i) {
    const ElfW(Phdr)& part = object->dlpi_phdr[i];
    // What was never writable cannot differ from the file.
    if (part.p_type != PT_LOAD || (part.p_flags & PF_W) != 0) continue;
    const uintptr_t begin = (object->dlpi_addr + part.p_vaddr + page - 1) / page * page;
    const uintptr_t end = (object->dlpi_addr + part.p_vaddr + part.p_filesz) / page * page;
    if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
  }
  return 0;
}

}  // namespace

void release_startup_pages() { dl_iterate_phdr(release_pages_of, nullptr); }

}  // namespace headscope
