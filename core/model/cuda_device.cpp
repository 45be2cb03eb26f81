#include "core/model/cuda_device.h"

#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>

#include "core/base/error.h"
#include "core/base/text.h"
#include "core/model/torch_errors.h"

namespace headscope {
namespace {

std::string out_of_device_memory(uint64_t needed, const CudaMemory& memory, std::string_view device_name) {
  return fmt::format(
      "the memory of {} is full: {} more are needed, {} of {} are free; take a shorter prompt or --dtype bf16, close "
      "what else uses it, or use --device cpu",
      quoted(device_name), format_bytes(needed), format_bytes(memory.free_bytes), format_bytes(memory.total_bytes));
}

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

/// A GPU that the library can use, with its kernels. Memory is that of LibTorch's caching allocator, in the order of
/// the default stream.
class Cuda final : public Device {
 public:
  explicit Cuda(const CudaAccess& cuda)
      : library_(*cuda.library),
        index_(cuda.device),
        device_name_(cuda.device_name),
        kernels_(library_.kernels, static_cast<size_t>(library_.kernel_count)) {}

  std::string_view name() const override { return "cuda"; }
  bool is_host() const override { return false; }
  bool on_gpu() const override { return true; }

  std::byte* allocate(size_t bytes) const override {
    const c10::DeviceGuard current(place());
    try {
      return static_cast<std::byte*>(c10::GetAllocator(at::kCUDA)->raw_allocate(bytes));
    } catch (const c10::OutOfMemoryError&) {  // LibTorch's allocator has given back what it kept by then
      CudaMemory memory;
      library_.memory_info(index_, memory);
      throw Error(out_of_device_memory(bytes, memory, device_name_));
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
  std::optional<int64_t> free_bytes() const override {
    CudaMemory memory;
    if (!library_.memory_info(index_, memory).ok()) return std::nullopt;
    return static_cast<int64_t>(memory.free_bytes);
  }
  bool records() const override { return library_.record != nullptr; }
  std::unique_ptr<const RecordedWork> record(const std::function<void(void*)>& work) const override {
    CudaRecording* recording = nullptr;
    with_torch_errors([&] { recording = library_.record(index_, work); });
    return std::make_unique<Recording>(library_, recording);
  }
  std::span<const AttentionKernel> kernels() const override { return kernels_; }

 private:
  at::Device place() const { return {at::kCUDA, static_cast<c10::DeviceIndex>(index_)}; }

  const CudaLibrary& library_;  // stays loaded
  int index_;
  std::string device_name_;
  std::span<const AttentionKernel> kernels_;
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
  if (name == "cpu") return {host(), ""};
  const CudaAccess cuda = open_cuda();
  const std::string reason = refusal_of_models(cuda);
  if (reason.empty()) {
    with_torch_errors([] { at::globalContext().lazyInitDevice(at::kCUDA); });  // its allocator is there from then on
    return {std::make_shared<const Cuda>(cuda), ""};
  }
  if (name == "cuda") fail("--device cuda is not available: {}; use --device cpu", reason);
  return {host(), cuda.no_driver ? "" : fmt::format("running on the CPU: {}", reason)};
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
