#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "kernels/cuda/library.h"

namespace headscope {

inline constexpr std::string_view cuda_library_file = "libheadscope_cuda.so";

/// The CUDA library, or why it cannot be used. The library stays loaded until the process ends.
struct CudaAccess {
  const CudaLibrary* library = nullptr;  ///< null where `refusal` says why
  int device = -1;                       ///< the one to use
  std::string device_name;
  std::string refusal;     ///< one sentence without its full stop; empty: the device can be used
  bool no_driver = false;  ///< refused because the machine has no NVIDIA driver: nobody expects CUDA there
};

/// Loads the library, once a process, and looks for a device, at each call. Call it before LibTorch is first asked
/// about CUDA, which remembers its answer. May be called from any thread; throws nothing but std::bad_alloc.
///
/// The file is the one that HEADSCOPE_CUDA_LIBRARY names, else the first of `cuda_library_places`. On a machine without
/// an NVIDIA driver nothing is loaded (LibTorch's part alone takes 0.1 s and 235 MB), unless that variable names a
/// file.
CudaAccess open_cuda();

/// The same for one file.
CudaAccess open_cuda(const std::filesystem::path& file);

/// Where the library is looked for, for a program in `folder`: there, then as an installation (bin/, lib/) and as a
/// build (app/cli/, lib/) lay them out.
std::vector<std::filesystem::path> cuda_library_places(const std::filesystem::path& folder);

/// Why nothing of a probe can be used, as in CudaAccess; empty when a device can.
std::string refusal_of(const CudaProbe&);

}  // namespace headscope
