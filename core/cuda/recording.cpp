#include "kernels/cuda/recording.h"

#include <memory>

#include <ATen/ATen.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

// Captured here and not by at::cuda::CUDAGraph, which leaves LibTorch's allocator capturing for ever when a capture
// fails, and keeps states of random numbers that nobody here draws.

namespace headscope {
namespace allocator = c10::cuda::CUDACachingAllocator;

/// A CUDA graph, and the memory of LibTorch's allocator that it uses.
class CudaRecording {
 public:
  explicit CudaRecording(c10::DeviceIndex device) : device_(device), pool_(at::cuda::graph_pool_handle()) {}
  ~CudaRecording() {
    if (graph_ != nullptr) cudaGraphExecDestroy(graph_);
    if (!has_pool_) return;
    try {
      allocator::releasePool(device_, pool_);
    } catch (const c10::Error&) {  // it stays with the allocator
    }
  }
  CudaRecording(const CudaRecording&) = delete;
  CudaRecording& operator=(const CudaRecording&) = delete;

  void capture(cudaStream_t stream, const std::function<void(CudaStream)>& work);
  void launch() const { C10_CUDA_CHECK(cudaGraphLaunch(graph_, c10::cuda::getCurrentCUDAStream(device_).stream())); }

 private:
  /// For as long as this lives, what is allocated for the stream is the pool's.
  class PoolInUse {
   public:
    PoolInUse(c10::DeviceIndex device, c10::MempoolId_t pool, cudaStream_t stream) : device_(device), pool_(pool) {
      allocator::beginAllocateToPool(device, pool, [stream](cudaStream_t other) { return other == stream; });
    }
    ~PoolInUse() {
      try {
        allocator::endAllocateToPool(device_, pool_);
      } catch (const c10::Error&) {
      }
    }
    PoolInUse(const PoolInUse&) = delete;
    PoolInUse& operator=(const PoolInUse&) = delete;

   private:
    c10::DeviceIndex device_;
    c10::MempoolId_t pool_;
  };

  c10::DeviceIndex device_;
  c10::MempoolId_t pool_;
  bool has_pool_ = false;
  cudaGraphExec_t graph_ = nullptr;
};

void CudaRecording::capture(cudaStream_t stream, const std::function<void(CudaStream)>& work) {
  cudaGraph_t captured = nullptr;
  {
    const PoolInUse pool(device_, pool_, stream);
    has_pool_ = true;
    // Other threads go on with tiles and copies of theirs meanwhile.
    C10_CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    try {
      work(stream);
    } catch (...) {
      cudaStreamEndCapture(stream, &captured);
      if (captured != nullptr) cudaGraphDestroy(captured);
      cudaGetLastError();  // which a later call would give back otherwise
      throw;
    }
    C10_CUDA_CHECK(cudaStreamEndCapture(stream, &captured));
  }
  const cudaError_t made = cudaGraphInstantiate(&graph_, captured, 0);
  cudaGraphDestroy(captured);
  C10_CUDA_CHECK(made);
}

namespace cuda {
namespace {

/// Gives the libraries of LibTorch's products their memory for the current stream, which stays with it: a capture would
/// take it from a graph's pool.
void make_products_ready(c10::DeviceIndex device) {
  const auto options = at::TensorOptions(at::Device(at::kCUDA, device));
  const at::Tensor f32 = at::zeros({16, 16}, options.dtype(at::kFloat));
  const at::Tensor bf16 = f32.to(at::kBFloat16);
  at::mm(f32, f32);
  at::mm(bf16, bf16);
  at::mm(bf16, bf16, at::kFloat);
}

}  // namespace

CudaRecording* record(int device, CudaStream stream, const std::function<void(CudaStream)>& work) {
  const auto index = static_cast<c10::DeviceIndex>(device);
  const c10::InferenceMode no_gradients;
  const c10::cuda::CUDAStreamGuard current(c10::cuda::getStreamFromExternal(stream, index));
  make_products_ready(index);
  // While it captures, the allocator gives back nothing that it keeps, pools of graphs that are no more among it.
  allocator::emptyCache();
  auto recording = std::make_unique<CudaRecording>(index);
  recording->capture(stream, work);
  return recording.release();
}

void replay(CudaRecording& recording) { recording.launch(); }

void forget(CudaRecording* recording) noexcept { delete recording; }

}  // namespace cuda
}  // namespace headscope
