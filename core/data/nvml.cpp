#include "core/data/nvml.h"

#include <dlfcn.h>

#include <vector>

#include "core/base/error.h"

namespace headscope {
namespace {

// As nvml.h has them.
constexpr int success = 0, insufficient_size = 7;
constexpr unsigned long long not_available = ~0ULL;

struct ProcessInfo {
  unsigned pid;
  unsigned long long used_gpu_memory;
  unsigned gpu_instance, compute_instance;
};

using Device = struct Opaque*;

template <class Function>
Function* find(void* library, const char* name) {
  return reinterpret_cast<Function*>(dlsym(library, name));
}

}  // namespace

struct Nvml::Functions {
  explicit Functions(void* library)
      : count(find<int(unsigned*)>(library, "nvmlDeviceGetCount_v2")),
        device(find<int(unsigned, Device*)>(library, "nvmlDeviceGetHandleByIndex_v2")),
        processes(find<int(Device, unsigned*, ProcessInfo*)>(library, "nvmlDeviceGetComputeRunningProcesses_v3")) {}
  bool all() const { return count != nullptr && device != nullptr && processes != nullptr; }

  /// The processes of one GPU; nothing where the driver does not tell.
  std::optional<std::vector<ProcessInfo>> on(unsigned index) const {
    Device gpu = nullptr;
    if (device(index, &gpu) != success) return std::nullopt;
    std::vector<ProcessInfo> list(16);
    for (int attempt = 0; attempt < 3; ++attempt) {
      auto there = static_cast<unsigned>(list.size());
      const int status = processes(gpu, &there, list.data());
      list.resize(status == insufficient_size ? there + 16 : there);
      if (status == success) return list;
      if (status != insufficient_size) break;
    }
    return std::nullopt;
  }

  int (*count)(unsigned*);
  int (*device)(unsigned, Device*);
  int (*processes)(Device, unsigned*, ProcessInfo*);
};

Nvml::Nvml(const char* file) : library_(dlopen(file, RTLD_NOW | RTLD_LOCAL)) {
  if (library_ == nullptr) {
    refusal_ = fmt::format("{} is not there", file);
    return;
  }
  const auto begin = find<int()>(library_, "nvmlInit_v2");
  const int status = begin == nullptr ? -1 : begin();
  if (status == success && Functions(library_).all()) return;
  refusal_ = status > 0 ? fmt::format("{} refuses with error {}", file, status)
                        : fmt::format("{} is of another version", file);
}

Nvml::~Nvml() {
  if (library_ == nullptr) return;
  const auto end = find<int()>(library_, "nvmlShutdown");
  if (refusal_.empty() && end != nullptr) end();
  dlclose(library_);
}

Nvml::Answer Nvml::process_bytes(int64_t pid) {
  if (!refusal_.empty()) return {std::nullopt, refusal_};
  const Functions nvml(library_);
  unsigned gpus = 0;
  if (nvml.count(&gpus) != success) return {std::nullopt, "the driver does not tell its GPUs"};
  std::optional<int64_t> sum;
  for (unsigned index = 0; index < gpus; ++index) {
    const auto list = nvml.on(index);
    if (!list) continue;
    for (const ProcessInfo& process : *list) {
      if (static_cast<int64_t>(process.pid) != pid || process.used_gpu_memory == not_available) continue;
      sum = sum.value_or(0) + static_cast<int64_t>(process.used_gpu_memory);
    }
  }
  if (!sum) return {std::nullopt, "the driver does not list this process, as in some containers"};
  return {sum, ""};
}

}  // namespace headscope
