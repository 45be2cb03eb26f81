#include <cuda.h>
#include <cuda_runtime_api.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "tests/kernels/device_memory.h"

namespace headscope::testing {
namespace {

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  throw std::runtime_error(std::string(what) + ": " + cudaGetErrorName(error) + ": " + cudaGetErrorString(error));
}

void check(CUresult result, const char* what) {
  if (result != CUDA_SUCCESS) throw std::runtime_error(std::string(what) + ": CUresult " + std::to_string(result));
}

/// A function of the driver, which is not linked.
template <class Function>
Function* driver_function(const char* name) {
  constexpr unsigned version = 12000;
  void* found = nullptr;
  cudaDriverEntryPointQueryResult how{};
  check(cudaGetDriverEntryPointByVersion(name, &found, version, cudaEnableDefault, &how), name);
  if (how != cudaDriverEntryPointSuccess) throw std::runtime_error(std::string("the driver has no ") + name);
  return reinterpret_cast<Function*>(found);
}

/// Addresses with memory behind some of them: what rows that lie 2^31 elements apart need of a device that cannot hold
/// what lies between.
class SparseRange {
 public:
  SparseRange(int device, size_t bytes, std::span<const ByteRange> used) {
    properties_.type = CU_MEM_ALLOCATION_TYPE_PINNED;
    properties_.location = {CU_MEM_LOCATION_TYPE_DEVICE, {device}};
    size_t page = 0;
    check(driver_function<decltype(cuMemGetAllocationGranularity)>("cuMemGetAllocationGranularity")(
              &page, &properties_, CU_MEM_ALLOC_GRANULARITY_MINIMUM),
          "cuMemGetAllocationGranularity");
    bytes_ = (bytes + page - 1) / page * page;
    check(driver_function<decltype(cuMemAddressReserve)>("cuMemAddressReserve")(&begin_, bytes_, page, 0, 0),
          "cuMemAddressReserve");
    try {
      for (const ByteRange& range : used) {
        const size_t mapped = mapped_.empty() ? 0 : mapped_.back().end;
        const ByteRange pages{std::max(mapped, range.begin / page * page), (range.end + page - 1) / page * page};
        if (pages.begin < pages.end) map(pages);
      }
    } catch (...) {
      give_back();
      throw;
    }
  }
  ~SparseRange() { give_back(); }
  SparseRange(const SparseRange&) = delete;
  SparseRange& operator=(const SparseRange&) = delete;

  std::byte* data() const { return reinterpret_cast<std::byte*>(begin_); }

 private:
  void map(const ByteRange& pages) {
    CUmemGenericAllocationHandle memory = 0;
    check(driver_function<decltype(cuMemCreate)>("cuMemCreate")(&memory, pages.size(), &properties_, 0), "cuMemCreate");
    const CUresult mapped =
        driver_function<decltype(cuMemMap)>("cuMemMap")(begin_ + pages.begin, pages.size(), 0, memory, 0);
    driver_function<decltype(cuMemRelease)>("cuMemRelease")(memory);  // the mapping keeps it
    check(mapped, "cuMemMap");
    mapped_.push_back(pages);
    const CUmemAccessDesc access{properties_.location, CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
    check(driver_function<decltype(cuMemSetAccess)>("cuMemSetAccess")(begin_ + pages.begin, pages.size(), &access, 1),
          "cuMemSetAccess");
  }
  void give_back() noexcept {
    for (const ByteRange& pages : mapped_) {
      driver_function<decltype(cuMemUnmap)>("cuMemUnmap")(begin_ + pages.begin, pages.size());
    }
    driver_function<decltype(cuMemAddressFree)>("cuMemAddressFree")(begin_, bytes_);
  }

  CUmemAllocationProp properties_{};
  size_t bytes_ = 0;
  CUdeviceptr begin_ = 0;
  std::vector<ByteRange> mapped_;
};

class CudaMemory final : public DeviceMemory {
 public:
  explicit CudaMemory(int device) : device_(device) { check(cudaSetDevice(device), "cudaSetDevice"); }

  std::shared_ptr<std::byte> allocate(size_t bytes, std::span<const ByteRange> used) const override {
    if (used.size() != 1) {
      const auto range = std::make_shared<SparseRange>(device_, bytes, used);
      return {range, range->data()};
    }
    void* memory = nullptr;
    check(cudaMalloc(&memory, bytes), "cudaMalloc");
    return {static_cast<std::byte*>(memory), [](std::byte* block) { cudaFree(block); }};
  }
  void to_device(std::byte* to, const std::byte* from, size_t bytes) const override {
    check(cudaMemcpy(to, from, bytes, cudaMemcpyHostToDevice), "a copy to the device");
  }
  void from_device(std::byte* to, const std::byte* from, size_t bytes) const override {
    check(cudaMemcpy(to, from, bytes, cudaMemcpyDeviceToHost), "a copy from the device");
  }
  void finish() const override { check(cudaDeviceSynchronize(), "a kernel"); }

 private:
  int device_;
};

}  // namespace

std::unique_ptr<const DeviceMemory> cuda_memory(int device) { return std::make_unique<CudaMemory>(device); }

}  // namespace headscope::testing
