// Stands in for libheadscope_cuda.so in tests of its loader. HEADSCOPE_STAND_IN says what its probe finds: usable,
// mixed (an old device before a usable one), driver_too_old, no_device, device_too_old, failed; else no driver.
#include <cstdlib>
#include <string_view>

#include "kernels/cuda/library.h"

#ifndef HEADSCOPE_TEST_NO_ENTRY

namespace headscope {
namespace {

constexpr CudaProbe::State usable = CudaProbe::State::usable;

CudaProbe stand_in_probe() {
  const char* wanted = std::getenv("HEADSCOPE_STAND_IN");
  const std::string_view state = wanted == nullptr ? "" : wanted;
  const CudaDevice h200{"NVIDIA H200", 9, 0, 150'000'000'000}, t4{"Tesla T4", 7, 5, 16'000'000'000};
  if (state == "usable") return {usable, 13000, 13000, {h200}, {}};
  if (state == "mixed") return {usable, 13000, 13000, {t4, h200}, {}};
  if (state == "driver_too_old") {
    return {CudaProbe::State::driver_too_old, 12040, 13000, {}, {35, "cudaErrorInsufficientDriver: too old"}};
  }
  if (state == "no_device") return {CudaProbe::State::no_device, 13000, 13000, {}, {}};
  if (state == "device_too_old") return {CudaProbe::State::device_too_old, 13000, 13000, {t4}, {}};
  if (state == "failed") {
    return {
        CudaProbe::State::failed, 13000, 13000, {}, {803, "cudaErrorSystemDriverMismatch: driver \x1b and library"}};
  }
  return {CudaProbe::State::no_driver, 0, 13000, {}, {}};
}

constexpr CudaLibrary library{.abi_version = HEADSCOPE_TEST_ABI, .probe = stand_in_probe};

}  // namespace
}  // namespace headscope

extern "C" const headscope::CudaLibrary* headscope_cuda_library() { return &headscope::library; }
#endif
