#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace headscope {

/// The driver's own library for questions about GPUs, opened at run time. One thread at a time.
class Nvml {
 public:
  /// Never throws for a library that is missing or refuses: its answers say so.
  explicit Nvml(const char* file = "libnvidia-ml.so.1");
  ~Nvml();
  Nvml(const Nvml&) = delete;
  Nvml& operator=(const Nvml&) = delete;

  struct Answer {
    std::optional<int64_t> bytes;
    std::string refusal;  ///< why there are none, as a part of a sentence
  };
  /// Bytes that the process of this number has on all GPUs together, contexts and kernels included. In a container
  /// the driver may list other numbers than the container's, and with MIG none.
  Answer process_bytes(int64_t pid);

 private:
  struct Functions;
  void* library_ = nullptr;
  std::string refusal_;
};

}  // namespace headscope
