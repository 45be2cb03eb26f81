#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "core/data/cuda_library.h"
#include "core/data/device.h"

namespace headscope {

/// Where models run when the user asks for "cpu", "cuda" or "auto": the GPU, or else the CPU.
struct ChosenDevice {
  std::shared_ptr<const Device> device;
  std::string note;    ///< why auto takes the CPU although the machine has an NVIDIA driver; else empty
  std::string reason;  ///< why auto takes the CPU, also where nobody expects a GPU; else empty
};
/// Throws Error with the reason when "cuda" cannot be had. Before LibTorch is first asked about CUDA.
ChosenDevice choose_device(std::string_view name);

/// What a failed call says to the user: `what` was tried, on the device of this name.
std::string cuda_failure(const CudaStatus&, bool sticky, std::string_view what, std::string_view device_name);

}  // namespace headscope
