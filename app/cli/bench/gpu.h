#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "app/cli/bench/bench.h"
#include "core/data/device.h"
#include "kernels/cuda/library.h"

namespace headscope::cli::bench {

/// What LibTorch's attention gives: output [batch, heads, rows, dim] and log-sum-exp [batch, heads, rows], nats, f32.
struct Attended {
  at::Tensor out, lse;
};

/// One of LibTorch's attention kernels, called by its name.
struct LibraryKernel {
  std::string name;       ///< "flash SDPA"
  std::string operation;  ///< "aten::_scaled_dot_product_flash_attention"
  std::function<Attended(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, bool causal, double scale)>
      attend;
};

/// A GPU as the families of `bench --device cuda` use it; the tests put the processor in its place, so that all but the
/// speed is known without one. Everything goes to the default stream, LibTorch's and ours.
struct Gpu {
  std::string name;              ///< "NVIDIA H200"
  std::string driver;            ///< newest CUDA that the driver knows: "13.0"
  c10::Device place{c10::kCPU};  ///< of tensors
  std::shared_ptr<const Device> device;
  AttentionKernel kernel;  ///< its fastest
  LibraryKernel flash, cudnn;
  /// Seconds of what `work` starts, by the device's clock.
  std::function<double(const std::function<void()>& work)> seconds;
  /// Free and all bytes, as the driver reports them.
  std::function<CudaMemory()> memory;
  /// Gives memory that LibTorch keeps for later back to the driver.
  std::function<void()> release_cached;
  /// Memory of the host that the device copies to at full speed, f32.
  std::function<at::Tensor(at::IntArrayRef shape)> host_memory;
};

/// The GPU that --device cuda takes. Throws Error where there is none.
std::shared_ptr<const Gpu> open_gpu();

/// Seconds of one of `times` runs in a row: what is shorter than a launch needs several.
double seconds_each(const Gpu&, int times, const std::function<void()>& work);

/// What it gives at most: reading memory, copying it, multiplying bf16 matrices, each by LibTorch.
std::vector<Limit> measure_gpu_limits(const Setting&, const Gpu&);

// The families, in gpu_NAME.cpp. They take Setting::gpu.
void bench_gpu_attention(Bench&);
void bench_gpu_decode(Bench&);
void bench_gpu_tiles(Bench&);
void bench_gpu_map_statistics(Bench&);
void bench_gpu_divergence(Bench&);
void bench_gpu_model(Bench&);

}  // namespace headscope::cli::bench
