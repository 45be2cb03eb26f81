#include "app/cli/find_python.h"

#include <link.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "core/base/error.h"
#include "core/base/file.h"

namespace headscope::cli {
namespace {

namespace fs = std::filesystem;

/// The libtorch_cpu.so that this process has loaded.
fs::path loaded_torch() {
  std::string found;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* to) {
        if (!std::string_view(info->dlpi_name).ends_with("/libtorch_cpu.so")) return 0;
        *static_cast<std::string*>(to) = info->dlpi_name;
        return 1;
      },
      &found);
  return found;
}

}  // namespace

std::string_view needed_torch_version() { return HEADSCOPE_TORCH_VERSION; }

/// In a virtual environment, LibTorch is lib/python3.x/site-packages/torch/lib/libtorch_cpu.so beside bin/python.
fs::path find_python(std::string_view user) {
  if (const char* named = std::getenv("HEADSCOPE_PYTHON"); named != nullptr && *named != '\0') {
    if (access(named, X_OK) == 0) return named;
    fail("HEADSCOPE_PYTHON names {}, which cannot be run: {}; it must be the path of a Python with torch {}",
         quoted_path(named), errno_text(errno), needed_torch_version());
  }
  const fs::path python = (loaded_torch().parent_path() / "../../../../../bin/python").lexically_normal();
  if (access(python.c_str(), X_OK) == 0) return python;
  fail(
      "{} needs a Python with torch {}, and there is none beside LibTorch: run ./run.sh, which installs one, or set "
      "HEADSCOPE_PYTHON to the path of one",
      user, needed_torch_version());
}

std::vector<std::string> python_environment() {
  std::vector<std::string> variables{"LC_ALL=C.UTF-8", "HF_HUB_OFFLINE=1", "CUDA_VISIBLE_DEVICES="};
  for (const char* name : {"PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH"}) {
    if (const char* value = std::getenv(name)) variables.push_back(fmt::format("{}={}", name, value));
  }
  return variables;
}

}  // namespace headscope::cli
