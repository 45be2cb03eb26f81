#pragma once

#include <functional>

#include "kernels/cuda/library.h"

namespace headscope::cuda {

// Recorded work, as CudaLibrary says. In core/cuda, because LibTorch's allocator and its products must know of it.

CudaRecording* record(int device, CudaStream stream, const std::function<void(CudaStream)>& work);
void replay(CudaRecording&);
void forget(CudaRecording*) noexcept;

}  // namespace headscope::cuda
