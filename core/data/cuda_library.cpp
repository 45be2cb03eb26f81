#include "core/data/cuda_library.h"

#include <dlfcn.h>
#include <link.h>

#include <cstdlib>
#include <cstring>
#include <fstream>

#include "core/base/error.h"

namespace headscope {
namespace {

namespace fs = std::filesystem;

constexpr size_t loader_text_limit = 400;

/// 13000 as "13.0".
std::string version_text(int version) { return fmt::format("{}.{}", version / 1000, version % 1000 / 10); }

CudaAccess refused(std::string refusal) {
  CudaAccess access;
  access.refusal = std::move(refusal);
  return access;
}

CudaAccess refused_without_driver() {
  CudaAccess access = refused(refusal_of(CudaProbe{}));
  access.no_driver = true;
  return access;
}

/// A driver that is too old, or has no device, is there; the library's own probe tells those apart.
bool driver_is_there() {
  void* driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
  if (driver != nullptr) dlclose(driver);
  return driver != nullptr;
}

/// A library that ends before its table of sections does (a copy that ran out of disk): the system's loader would die
/// of the pages that are not there.
bool is_cut(const fs::path& file) {
  ElfW(Ehdr) header;
  std::ifstream stream(file, std::ios::binary);
  if (!stream.read(reinterpret_cast<char*>(&header), sizeof header)) return false;
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) return false;
  std::error_code error;
  return header.e_shoff + uint64_t{header.e_shentsize} * header.e_shnum > fs::file_size(file, error);
}

fs::path folder_of_program() {
  std::error_code error;
  return fs::read_symlink("/proc/self/exe", error).parent_path();
}

}  // namespace

std::string refusal_of(const CudaProbe& probe) {
  switch (probe.state) {
    case CudaProbe::State::usable:
      return "";
    case CudaProbe::State::no_driver:
      return "there is no NVIDIA driver on this machine";
    case CudaProbe::State::driver_too_old:
      return fmt::format("the NVIDIA driver is too old: it knows CUDA {}, and CUDA {} is needed; update the driver",
                         version_text(probe.driver_version), version_text(probe.runtime_version));
    case CudaProbe::State::no_device:
      return "the NVIDIA driver finds no GPU, or CUDA_VISIBLE_DEVICES hides it";
    case CudaProbe::State::device_too_old: {
      const CudaDevice& device = probe.devices.front();
      return fmt::format("{} is too old: it has compute capability {}.{}, and {}.0 is needed", quoted(device.name),
                         device.major, device.minor, cuda_oldest_major);
    }
    case CudaProbe::State::failed:
      break;
  }
  return fmt::format("the NVIDIA driver does not work: {}", quoted(probe.status.text, loader_text_limit));
}

std::vector<fs::path> cuda_library_places(const fs::path& folder) {
  std::vector<fs::path> places;
  for (const char* place : {".", "../lib", "../../lib"}) {
    places.push_back((folder / place / cuda_library_file).lexically_normal());
  }
  return places;
}

CudaAccess open_cuda(const fs::path& file) {
  if (is_cut(file)) return refused(fmt::format("the CUDA library {} is cut short; build it again", quoted_path(file)));
  // A name without a folder would be looked for where the system keeps its libraries.
  std::error_code error;
  void* library = dlopen(fs::absolute(file, error).c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (library == nullptr) {
    return refused(fmt::format("the CUDA library could not be loaded: {}", quoted(dlerror(), loader_text_limit)));
  }
  const auto entry = reinterpret_cast<CudaLibraryEntry*>(dlsym(library, cuda_library_entry));
  if (entry == nullptr) {
    return refused(fmt::format("{} is not HeadScope's CUDA library: it has no function {}", quoted_path(file),
                               cuda_library_entry));
  }
  const CudaLibrary* table = entry();
  if (table->abi_version != cuda_library_abi) {
    return refused(
        fmt::format("{} belongs to another version of HeadScope: its interface is {}, and {} is needed; "
                    "build it again",
                    quoted_path(file), table->abi_version, cuda_library_abi));
  }
  const CudaProbe probe = table->probe();
  CudaAccess access;
  access.refusal = refusal_of(probe);
  access.no_driver = probe.state == CudaProbe::State::no_driver;
  if (!access.refusal.empty()) return access;
  access.library = table;
  access.device = probe.first_usable();
  access.device_name = probe.devices[static_cast<size_t>(access.device)].name;
  return access;
}

CudaAccess open_cuda() {
  if (const char* named = std::getenv("HEADSCOPE_CUDA_LIBRARY"); named != nullptr && *named != '\0') {
    return open_cuda(fs::path(named));
  }
  if (!driver_is_there()) return refused_without_driver();
  const std::vector<fs::path> places = cuda_library_places(folder_of_program());
  for (const fs::path& place : places) {
    std::error_code error;
    if (fs::exists(place, error)) return open_cuda(place);
  }
  std::vector<std::string> folders;
  for (const fs::path& place : places) folders.push_back(quoted_path(place.parent_path()));
  return refused(
      fmt::format("{} is not in {}: build HeadScope where there is a CUDA toolkit, or name the file by "
                  "HEADSCOPE_CUDA_LIBRARY",
                  cuda_library_file, listed(folders)));
}

}  // namespace headscope
