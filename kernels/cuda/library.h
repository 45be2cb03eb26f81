#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/kernels.h"

struct CUstream_st;  // CUDA's own name of what cudaStream_t points to

/// What the rest of the program knows of CUDA: the one table that libheadscope_cuda.so gives away. No header of CUDA is
/// needed to use it. Its functions may be called from any thread, never abort, and throw nothing but std::bad_alloc
/// unless they say so.
namespace headscope {

/// Goes up with every change of this header or of AttentionKernel, so that a stale library is refused.
inline constexpr int cuda_library_abi = 4;

/// Oldest compute capability that the kernels run on: bf16 tensor cores and cp.async.
inline constexpr int cuda_oldest_major = 8;

/// What a call to CUDA gave back.
struct CudaStatus {
  int code = 0;      ///< cudaError_t; 0: no error
  std::string text;  ///< "cudaErrorIllegalAddress: an illegal memory access was encountered"; empty without an error

  bool ok() const { return code == 0; }
};

/// What a kernel of the library throws when CUDA refuses its launch.
class __attribute__((visibility("default"))) CudaError : public std::runtime_error {
 public:
  CudaError(int error, const std::string& said) : std::runtime_error(said), code(error) {}
  int code;  ///< cudaError_t
};

struct CudaDevice {
  std::string name;  ///< "NVIDIA H200"
  int major = 0;     ///< compute capability
  int minor = 0;
  uint64_t total_bytes = 0;

  bool usable() const { return major >= cuda_oldest_major; }
};

/// Which devices there are, or why none can be used. Versions are CUDA's: 1000 * major + 10 * minor.
struct CudaProbe {
  enum class State {
    usable,          ///< at least one device is
    no_driver,       ///< driver_version is 0
    driver_too_old,  ///< driver_version is less than runtime_version
    no_device,       ///< a driver without a device, or CUDA_VISIBLE_DEVICES hides them all
    device_too_old,  ///< no device is usable()
    failed,          ///< `status` says how
  };
  State state = State::no_driver;
  int driver_version = 0;   ///< newest CUDA that the driver knows; 0: there is no driver
  int runtime_version = 0;  ///< CUDA that the library was built with
  std::vector<CudaDevice> devices;
  CudaStatus status;

  /// The first usable device, -1 if there is none.
  int first_usable() const {
    for (size_t i = 0; i < devices.size(); ++i) {
      if (devices[i].usable()) return static_cast<int>(i);
    }
    return -1;
  }
};

struct CudaMemory {
  uint64_t free_bytes = 0;
  uint64_t total_bytes = 0;
};

/// Work on one device in the order in which it was given. Owned by who created it.
using CudaStream = CUstream_st*;

/// A CUDA graph.
class CudaRecording;

struct CudaLibrary {
  int abi_version = 0;             ///< cuda_library_abi; nothing else may be read when it is another
  const char* architectures = "";  ///< what the kernels were compiled for: "90-real,80-virtual"
  int kernel_count = 0;
  const AttentionKernel* kernels = nullptr;  ///< [kernel_count], the fastest last; device "cuda"

  /// Looks again at each call. Makes no context, so it takes no memory of a device; free bytes are memory_info's.
  CudaProbe (*probe)() = nullptr;

  /// Of the whole device, other programs included. Makes the device's context, which takes memory of it, if there is
  /// none yet.
  CudaStatus (*memory_info)(int device, CudaMemory&) = nullptr;

  /// A stream that does not wait for the default one. The device becomes the calling thread's current one.
  CudaStatus (*create_stream)(int device, CudaStream&) = nullptr;
  CudaStatus (*destroy_stream)(CudaStream) = nullptr;

  /// Between memory of a device and the same or the host's, without overlap, in the stream's order (null: the default
  /// one). Where `to` is the host's it has come when this returns; where `from` is, and its pages are not
  /// locked, it may be used again.
  CudaStatus (*copy)(void* to, const void* from, size_t bytes, CudaStream) = nullptr;

  /// Waits until everything given to the stream is done, and tells the first error of it.
  CudaStatus (*synchronize)(CudaStream) = nullptr;

  /// Seconds from the start of what `work` gives to the stream until it is done, by the device's own clock, and waits
  /// for it. The device becomes the calling thread's current one. Throws what `work` throws.
  CudaStatus (*time)(int device, CudaStream, const std::function<void()>& work, double& seconds) = nullptr;

  /// Work that is kept and done again; null in a library that was built without LibTorch. `record` keeps what `work`
  /// gives to `stream`, LibTorch's operations in it, which no other work may use meanwhile, and returns what `forget`
  /// frees; memory that LibTorch gave to `work` is kept for it. It takes some milliseconds, for it gives back what
  /// LibTorch's allocator keeps. `replay` starts it on LibTorch's current stream, the default one unless somebody
  /// changed it. Both throw std::exceptions of LibTorch's, and `record` what `work` throws; then nothing was kept.
  CudaRecording* (*record)(int device, CudaStream stream, const std::function<void(CudaStream)>& work) = nullptr;
  void (*replay)(CudaRecording&) = nullptr;
  void (*forget)(CudaRecording*) = nullptr;

  /// Whether no call of this process can use the device again after this error (CudaStatus::code).
  bool (*is_sticky)(int code) = nullptr;
};

/// The one function that the library exports, and its name for dlsym.
using CudaLibraryEntry = const CudaLibrary*();
inline constexpr const char* cuda_library_entry = "headscope_cuda_library";

}  // namespace headscope
