#include "kernels/cuda/library.h"

#include <cuda_runtime_api.h>

#include <iterator>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/recording.h"

namespace headscope {
namespace {

CudaStatus status_of(cudaError_t error) {
  if (error == cudaSuccess) return {};
  cudaGetLastError();  // which a later call would give back otherwise
  return {error, std::string(cudaGetErrorName(error)) + ": " + cudaGetErrorString(error)};
}

CudaProbe failed(CudaProbe probe, cudaError_t error) {
  probe.state = CudaProbe::State::failed;
  probe.status = status_of(error);
  return probe;
}

CudaProbe probe() {
  using State = CudaProbe::State;
  CudaProbe probe;
  cudaRuntimeGetVersion(&probe.runtime_version);
  // A driver that is missing is no error here but version 0; later calls do not tell it from one too old.
  if (const cudaError_t error = cudaDriverGetVersion(&probe.driver_version); error != cudaSuccess) {
    return failed(probe, error);
  }
  if (probe.driver_version == 0) return probe;
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaErrorNoDevice || (error == cudaSuccess && count == 0)) {
    cudaGetLastError();
    probe.state = State::no_device;
    return probe;
  }
  if (error == cudaErrorInsufficientDriver) {
    probe.state = State::driver_too_old;
    probe.status = status_of(error);
    return probe;
  }
  if (error != cudaSuccess) return failed(probe, error);
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp found;
    if (const cudaError_t unknown = cudaGetDeviceProperties(&found, i); unknown != cudaSuccess) {
      return failed(probe, unknown);
    }
    probe.devices.push_back({found.name, found.major, found.minor, found.totalGlobalMem});
  }
  probe.state = probe.first_usable() < 0 ? State::device_too_old : State::usable;
  return probe;
}

CudaStatus memory_info(int device, CudaMemory& memory) {
  if (const cudaError_t error = cudaSetDevice(device); error != cudaSuccess) return status_of(error);
  size_t free_bytes = 0, total_bytes = 0;
  const cudaError_t error = cudaMemGetInfo(&free_bytes, &total_bytes);
  memory = {free_bytes, total_bytes};
  return status_of(error);
}

CudaStatus create_stream(int device, CudaStream& stream) {
  if (const cudaError_t error = cudaSetDevice(device); error != cudaSuccess) return status_of(error);
  return status_of(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
}

CudaStatus destroy_stream(CudaStream stream) { return status_of(cudaStreamDestroy(stream)); }

CudaStatus copy(void* to, const void* from, size_t bytes, CudaStream stream) {
  cudaError_t error = cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream);
  cudaPointerAttributes there{};
  if (error == cudaSuccess) error = cudaPointerGetAttributes(&there, to);
  const bool to_host = there.type == cudaMemoryTypeUnregistered || there.type == cudaMemoryTypeHost;
  if (error == cudaSuccess && to_host) error = cudaStreamSynchronize(stream);
  return status_of(error);
}

CudaStatus synchronize(CudaStream stream) { return status_of(cudaStreamSynchronize(stream)); }

/// An event that takes the time.
struct Event {
  cudaEvent_t event = nullptr;
  cudaError_t error = cudaEventCreate(&event);
  Event() = default;
  ~Event() {
    if (event != nullptr) cudaEventDestroy(event);
  }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
};

CudaStatus time(int device, CudaStream stream, const std::function<void()>& work, double& seconds) {
  if (const cudaError_t error = cudaSetDevice(device); error != cudaSuccess) return status_of(error);
  const Event begin, end;
  cudaError_t error = begin.error != cudaSuccess ? begin.error : end.error;
  if (error == cudaSuccess) error = cudaEventRecord(begin.event, stream);
  if (error != cudaSuccess) return status_of(error);
  work();
  error = cudaEventRecord(end.event, stream);
  if (error == cudaSuccess) error = cudaEventSynchronize(end.event);
  float milliseconds = 0;
  if (error == cudaSuccess) error = cudaEventElapsedTime(&milliseconds, begin.event, end.event);
  seconds = static_cast<double>(milliseconds) * 1e-3;
  return status_of(error);
}

/// Those of which driver_types.h says that the process must end to use CUDA again, and memory or links that broke.
bool is_sticky(int code) {
  switch (code) {
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorContained:
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorTensorMemoryLeak:
    case cudaErrorMpsClientTerminated:
    case cudaErrorExternalDevice:
      return true;
    default:
      return false;
  }
}

const AttentionKernel kernels[] = {cuda::attention_kernel("cuda")};

const CudaLibrary library{
    .abi_version = cuda_library_abi,
    .architectures = HEADSCOPE_CUDA_ARCHITECTURES,
    .kernel_count = static_cast<int>(std::size(kernels)),
    .kernels = kernels,
    .probe = probe,
    .memory_info = memory_info,
    .create_stream = create_stream,
    .destroy_stream = destroy_stream,
    .copy = copy,
    .synchronize = synchronize,
    .time = time,
#if HEADSCOPE_CUDA_WITH_LIBTORCH
    .record = cuda::record,
    .replay = cuda::replay,
    .forget = cuda::forget,
#endif
    .is_sticky = is_sticky,
};

}  // namespace
}  // namespace headscope

extern "C" __attribute__((visibility("default"))) const headscope::CudaLibrary* headscope_cuda_library() {
  return &headscope::library;
}
