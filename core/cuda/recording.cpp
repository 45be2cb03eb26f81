#include "kernels/cuda/recording.h"

#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <memory>

namespace headscope {

/// A CUDA graph whose memory LibTorch's allocator keeps apart.
class CudaRecording {
 public:
  at::cuda::CUDAGraph graph;
};

namespace cuda {

CudaRecording* record(int device, const std::function<void(CudaStream)>& work) {
  // Not the default stream, which cannot be captured.
  const auto stream = c10::cuda::getStreamFromPool(false, static_cast<c10::DeviceIndex>(device));
  const c10::cuda::CUDAStreamGuard current(stream);
  auto recording = std::make_unique<CudaRecording>();
  // Other threads go on with tiles and copies of theirs meanwhile: what they do is none of this capture's business.
  recording->graph.capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
  try {
    work(stream.stream());
  } catch (...) {
    try {
      recording->graph.capture_end();  // the stream is captured until then; that the graph is of no use is known
    } catch (...) {
    }
    throw;
  }
  recording->graph.capture_end();
  return recording.release();
}

void replay(CudaRecording& recording) { recording.graph.replay(); }

void forget(CudaRecording* recording) noexcept { delete recording; }

}  // namespace cuda
}  // namespace headscope
