#include "core/model/cuda_device.h"

#include <unistd.h>

#include <mutex>
#include <optional>

#include <ATen/ATen.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/StreamGuard.h>

#include "core/base/error.h"
#include "core/base/text.h"
#include "core/data/nvml.h"
#include "core/model/torch_errors.h"

namespace headscope {
namespace {

/// A CUDA graph.
class Recording final : public RecordedWork {
 public:
  Recording(const CudaLibrary& library, CudaRecording* recording) : library_(library), recording_(recording) {}
  ~Recording() override { library_.forget(recording_); }
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;
  void run() const override {
    with_torch_errors([&] { library_.replay(*recording_); });
  }

 private:
  const CudaLibrary& library_;
  CudaRecording* recording_;
};

/// A stream of LibTorch's pool, which does not wait for the default one and is never given back. After lazyInitDevice.
c10::Stream take_stream(int index, bool high_priority) {
  const c10::impl::VirtualGuardImpl cuda(at::kCUDA);
  return cuda.getStreamFromGlobalPool({at::kCUDA, static_cast<c10::DeviceIndex>(index)}, high_priority);
}
/// The same, as CUDA has it.
void* handle_of(const c10::Stream& stream) {
  return c10::impl::VirtualGuardImpl(at::kCUDA).getStreamNativeHandle(stream);
}

/// A GPU that the library can use, with its kernels. Memory is that of LibTorch's caching allocator, which keeps what
/// was freed for the stream that it was allocated on: a stream is its own order, and no other needs to be waited for.
class Cuda final : public Device {
 public:
  explicit Cuda(const CudaAccess& cuda)
      : library_(*cuda.library),
        index_(cuda.device),
        device_name_(cuda.device_name),
        side_(take_stream(cuda.device, true)),
        side_stream_(handle_of(side_)),
        recording_stream_(static_cast<CudaStream>(handle_of(take_stream(cuda.device, false)))),
        kernels_(library_.kernels, static_cast<size_t>(library_.kernel_count)) {}

  std::string_view name() const override { return "cuda"; }
  std::string_view title() const override { return device_name_; }
  bool is_host() const override { return false; }
  bool on_gpu() const override { return true; }

  void* side_stream() const override { return side_stream_; }
  std::byte* allocate(size_t bytes, void* stream) const override {
    const c10::DeviceGuard current(side_.device());
    c10::OptionalStreamGuard on;
    if (stream != nullptr) on.reset_stream(own(stream));
    try {
      return static_cast<std::byte*>(c10::GetAllocator(at::kCUDA)->raw_allocate(bytes));
    } catch (const c10::OutOfMemoryError&) {  // LibTorch's allocator has given back what it kept by then
      CudaMemory memory;
      library_.memory_info(index_, memory);
      throw_memory_full(quoted(device_name_),
                        fmt::format("{} more are needed, {} of {} are free", format_bytes(bytes),
                                    format_bytes(memory.free_bytes), format_bytes(memory.total_bytes)));
    } catch (const c10::Error& error) {
      throw_torch_error(error.what_without_backtrace());
    }
  }
  void release(std::byte* memory, size_t) const noexcept override {
    c10::GetAllocator(at::kCUDA)->raw_deallocate(memory);
  }
  void copy(void* to, const void* from, size_t bytes, void* stream) const override {
    const CudaStatus status = library_.copy(to, from, bytes, static_cast<CudaStream>(stream));
    if (!status.ok()) throw Error(cuda_failure(status, library_.is_sticky(status.code), "a copy", device_name_));
  }
  bool records() const override { return library_.record != nullptr; }
  std::unique_ptr<const RecordedWork> record(const std::function<void(void*)>& work) const override {
    CudaRecording* recording = nullptr;
    with_torch_errors([&] { recording = library_.record(index_, recording_stream_, work); });
    return std::make_unique<Recording>(library_, recording);
  }
  void wait(void* stream) const override {
    const CudaStatus status = library_.synchronize(static_cast<CudaStream>(stream));
    if (!status.ok()) throw Error(cuda_failure(status, library_.is_sticky(status.code), "work", device_name_));
  }
  std::span<const AttentionKernel> kernels() const override { return kernels_; }

  MemoryCounts* counts() const override { return &counts_; }
  MemoryReport memory() const override {
    MemoryReport report = Device::memory();
    with_torch_errors([&] { add_library(report); });
    CudaMemory whole;
    if (library_.memory_info(index_, whole).ok()) {
      report.device_used_bytes = static_cast<int64_t>(whole.total_bytes - whole.free_bytes);
      report.device_total_bytes = static_cast<int64_t>(whole.total_bytes);
    }
    const std::lock_guard lock(nvml_mutex_);
    if (!nvml_) nvml_.emplace();
    Nvml::Answer process = nvml_->process_bytes(getpid());
    report.process_bytes = process.bytes;
    report.process_refusal = std::move(process.refusal);
    return report;
  }

 private:
  /// What LibTorch's allocator was asked for beyond the purposes, and what it has beyond what it was asked for.
  void add_library(MemoryReport& report) const {
    const auto stats = c10::getDeviceAllocator(at::kCUDA)->getDeviceStats(static_cast<c10::DeviceIndex>(index_));
    constexpr auto all = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    const int64_t asked = stats.requested_bytes[all].current;
    report.untagged_bytes = std::max<int64_t>(0, asked - report.tagged_bytes());
    report.kept_bytes = std::max<int64_t>(0, stats.reserved_bytes[all].current - asked);
  }
  c10::Stream own(void* stream) const {
    if (stream != side_stream_) throw std::logic_error("Cuda: memory for a stream that is not its own");
    return side_;
  }

  const CudaLibrary& library_;  // stays loaded
  int index_;
  std::string device_name_;
  c10::Stream side_;  ///< of high priority: a tile is small, somebody waits for it, and a model's kernels fill the GPU
  void* side_stream_;
  CudaStream recording_stream_;  ///< nothing but recordings
  std::span<const AttentionKernel> kernels_;
  mutable MemoryCounts counts_;
  mutable std::mutex nvml_mutex_;  ///< guards nvml_
  mutable std::optional<Nvml> nvml_;
};

/// Why models do not run on the GPU, as a part of a sentence; empty when they do.
std::string refusal_of_models(const CudaAccess& cuda) {
  if (!cuda.refusal.empty()) return cuda.refusal;
  if (cuda.library->kernel_count == 0) return "the CUDA library has no attention kernels";
  // Threads start with the first device as their own, and nobody changes it.
  if (cuda.device != 0) return "the first GPU is too old; name the one to use by CUDA_VISIBLE_DEVICES";
  if (!at::hasCUDA()) return fmt::format("LibTorch does not find {}, though the driver does", quoted(cuda.device_name));
  return "";
}

}  // namespace

ChosenDevice choose_device(std::string_view name) {
  if (name == "cpu") return {counting_host(), "", ""};
  const CudaAccess cuda = open_cuda();
  const std::string reason = refusal_of_models(cuda);
  if (reason.empty()) {
    return with_torch_errors([&] {
      at::globalContext().lazyInitDevice(at::kCUDA);  // its allocator and streams are there from then on
      return ChosenDevice{std::make_shared<const Cuda>(cuda), "", ""};
    });
  }
  if (name == "cuda") fail("--device cuda is not available: {}; use --device cpu", reason);
  return {counting_host(), cuda.no_driver ? "" : fmt::format("running on the CPU: {}", reason), reason};
}

std::string cuda_failure(const CudaStatus& status, bool sticky, std::string_view what, std::string_view device_name) {
  if (sticky) {
    return fmt::format(
        "{} failed on {} ({}), and this process cannot use it any more; start again, or go on with "
        "--device cpu",
        what, quoted(device_name), status.text);
  }
  return fmt::format("{} failed on {}: {}", what, quoted(device_name), status.text);
}

}  // namespace headscope
