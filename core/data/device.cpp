#include "core/data/device.h"

#include <cstring>
#include <new>
#include <stdexcept>

#include "core/base/error.h"

namespace headscope {
namespace {

constexpr std::align_val_t alignment{64};

class Host : public Device {
 public:
  std::string_view name() const override { return "cpu"; }
  std::string_view title() const override { return "CPU"; }
  bool is_host() const override { return true; }
  bool on_gpu() const override { return false; }
  std::byte* allocate(size_t bytes, void*) const override {
    return static_cast<std::byte*>(::operator new(bytes, alignment));
  }
  void release(std::byte* memory, size_t) const noexcept override { ::operator delete(memory, alignment); }
  void copy(void* to, const void* from, size_t bytes, void*) const override { std::memcpy(to, from, bytes); }
  void wait(void*) const override {}
  std::span<const AttentionKernel> kernels() const override { return attention_kernels(); }
  MemoryReport memory() const override {
    MemoryReport report = Device::memory();
    report.process_bytes = resident_bytes();
    return report;
  }
};

class CountingHost final : public Host {
 public:
  MemoryCounts* counts() const override { return &counts_; }

 private:
  mutable MemoryCounts counts_;
};

}  // namespace

MemoryReport Device::memory() const {
  MemoryReport report;
  report.device = title();
  const MemoryCounts* const all = counts();
  report.counted = all != nullptr;
  for (size_t i = 0; report.counted && i < memory_purposes; ++i) {
    const auto purpose = static_cast<MemoryPurpose>(i);
    report.tagged[i] = {all->bytes(purpose), all->peak_bytes(purpose)};
  }
  return report;
}

StreamEnd::~StreamEnd() {
  try {
    device_.wait(stream_);
  } catch (const Error&) {  // nothing runs any more, and the next call says so
  }
}

std::shared_ptr<const Device> host() {
  static const auto machine = std::make_shared<const Host>();
  return machine;
}

std::unique_ptr<const RecordedWork> Device::record(const std::function<void(void*)>&) const {
  throw std::logic_error("Device: this one records no work");
}

std::shared_ptr<const Device> counting_host() { return std::make_shared<const CountingHost>(); }

void throw_memory_full(std::string_view device, std::string_view details) {
  fail(
      "the memory of {} is full: {}; take a shorter prompt or --dtype bf16, close what else uses it, or use --device "
      "cpu",
      device, details);
}

void throw_device_error(const std::string& message) {
  const std::string said = quoted(message.substr(0, message.find('\n')), 200);
  const auto says = [&](std::string_view words) { return message.find(words) != std::string::npos; };
  if (says("out of memory") || says("ALLOC_FAILED")) throw_memory_full("the GPU", said);
  fail("the GPU failed: {}; if it does so again, this process cannot use it any more: start again, or use --device cpu",
       said);
}

const AttentionKernel& kernel_for(const Device& device, const AttentionProblem& problem) {
  const std::span<const AttentionKernel> kernels = device.kernels();
  std::string reason = "it has none";
  for (size_t i = kernels.size(); i-- > 0;) {
    const auto refused = kernels[i].unsupported(problem);
    if (!refused) return kernels[i];
    reason = *refused;
  }
  fail("no attention kernel of the device {} can run this layer: {}; use --device cpu", device.name(), reason);
}

}  // namespace headscope
