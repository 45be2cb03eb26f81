#include "core/model/startup_pages.h"

#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <string_view>

namespace headscope {
namespace {

/// Whether the loader wrote into parts that are read-only afterwards.
bool relocates_code(const dl_phdr_info& object) {
  for (int i = 0; i < object.dlpi_phnum; ++i) {
    if (object.dlpi_phdr[i].p_type != PT_DYNAMIC) continue;
    const auto* entry = reinterpret_cast<const ElfW(Dyn)*>(object.dlpi_addr + object.dlpi_phdr[i].p_vaddr);
    for (; entry->d_tag != DT_NULL; ++entry) {
      if (entry->d_tag == DT_TEXTREL || (entry->d_tag == DT_FLAGS && (entry->d_un.d_val & DF_TEXTREL) != 0))
        return true;
    }
  }
  return false;
}

int release_pages_of(dl_phdr_info* object, size_t, void*) {
  std::string_view name(object->dlpi_name);
  name.remove_prefix(std::min(name.size(), name.rfind('/') + 1));
  if (!name.starts_with("libtorch") || relocates_code(*object)) return 0;
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  for (int i = 0; i < object->dlpi_phnum; ++i) {
    const ElfW(Phdr)& part = object->dlpi_phdr[i];
    // Parts that are not writable are as in the file: there are no relocations in them.
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
