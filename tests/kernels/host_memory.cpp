#include <sys/mman.h>

#include <cstring>
#include <stdexcept>

#include "tests/kernels/device_memory.h"

namespace headscope::testing {
namespace {

class HostMemory final : public DeviceMemory {
 public:
  std::shared_ptr<std::byte> allocate(size_t bytes, std::span<const ByteRange>) const override {
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::runtime_error("the system does not give that much address space");
    return {static_cast<std::byte*>(memory), [bytes](std::byte* block) { munmap(block, bytes); }};
  }
  void to_device(std::byte* to, const std::byte* from, size_t bytes) const override { std::memcpy(to, from, bytes); }
  void from_device(std::byte* to, const std::byte* from, size_t bytes) const override { std::memcpy(to, from, bytes); }
  void finish() const override {}
};

}  // namespace

std::unique_ptr<const DeviceMemory> host_memory() { return std::make_unique<HostMemory>(); }

}  // namespace headscope::testing
