#include "app/cli/bench/gpu.h"

#include <ATen/ATen.h>
#include <c10/core/CachingDeviceAllocator.h>

#include "core/base/error.h"
#include "core/data/cuda_library.h"
#include "core/model/cuda_device.h"

namespace headscope::cli::bench {
namespace {

Attended flash(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, bool causal, double scale) {
  const auto all = at::_scaled_dot_product_flash_attention(q, k, v, 0, causal, false, scale);
  return {std::get<0>(all), std::get<1>(all)};
}

Attended cudnn(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, bool causal, double scale) {
  const auto all = at::_scaled_dot_product_cudnn_attention(q, k, v, std::nullopt, true, 0, causal, false, scale);
  return {std::get<0>(all), std::get<1>(all).reshape({q.size(0), q.size(1), q.size(2)})};
}

void require(const CudaStatus& status, const CudaAccess& cuda, const char* what) {
  if (!status.ok()) fail("{}", cuda_failure(status, cuda.library->is_sticky(status.code), what, cuda.device_name));
}

}  // namespace

std::shared_ptr<const Gpu> open_gpu() {
  const std::shared_ptr<const Device> device = choose_device("cuda").device;
  const CudaAccess cuda = open_cuda();
  const int version = cuda.library->probe().driver_version;
  Gpu gpu;
  gpu.name = cuda.device_name;
  gpu.driver = fmt::format("{}.{}", version / 1000, version % 1000 / 10);
  gpu.place = {c10::kCUDA, static_cast<c10::DeviceIndex>(cuda.device)};
  gpu.device = device;
  gpu.kernel = device->kernels().back();
  gpu.flash = {"flash SDPA", "aten::_scaled_dot_product_flash_attention", flash};
  gpu.cudnn = {"cuDNN SDPA", "aten::_scaled_dot_product_cudnn_attention", cudnn};
  gpu.seconds = [cuda](const std::function<void()>& work) {
    double seconds = 0;
    require(cuda.library->time(cuda.device, nullptr, work, seconds), cuda, "a kernel");
    return seconds;
  };
  gpu.memory = [cuda] {
    CudaMemory memory;
    require(cuda.library->memory_info(cuda.device, memory), cuda, "asking for its memory");
    return memory;
  };
  gpu.release_cached = [] { c10::getDeviceAllocator(c10::kCUDA)->emptyCache(); };
  gpu.host_memory = [](at::IntArrayRef shape) { return at::empty(shape, at::kFloat).pin_memory(); };
  return std::make_shared<const Gpu>(std::move(gpu));
}

double seconds_each(const Gpu& gpu, int times, const std::function<void()>& work) {
  return gpu.seconds([&] {
    for (int i = 0; i < times; ++i) work();
  }) / times;
}

std::vector<Limit> measure_gpu_limits(const Setting& setting, const Gpu& gpu) {
  const int64_t numbers = setting.tiny ? 1 << 16 : int64_t{1} << 29, side = setting.tiny ? 64 : 8192;
  const auto options = at::TensorOptions().device(gpu.place);
  const at::Tensor from = at::rand({numbers}, options.dtype(at::kFloat)), to = at::empty_like(from);
  const at::Tensor a = at::randn({side, side}, options.dtype(at::kFloat)).to(at::kBFloat16), b = a.t().contiguous();
  at::Tensor sum, product;
  const auto bytes = static_cast<double>(from.nbytes());
  const auto rate = [&](double count, const std::function<void()>& work) {
    double best = 0;
    for (int round = 0; round < (setting.tiny ? 2 : 10); ++round) {
      setting.progress.step("limits", 0);
      best = std::max(best, count / gpu.seconds(work));
    }
    return best;
  };
  const double read = rate(bytes, [&] { sum = from.sum(); });
  const double copy = rate(2 * bytes, [&] { to.copy_(from); });
  const double mma = rate(2.0 * static_cast<double>(side * side * side), [&] { product = at::mm(a, b); });
  const std::string size = fmt::format("{:.1f} GB", bytes * 1e-9);
  return {{"read", "B/s", "at::sum of " + size, read, read},
          {"copy", "B/s", "copying " + size + ", both ways counted", copy, copy},
          {"mma", "FLOP/s", fmt::format("at::mm of random bf16 matrices, {0} x {0}", side), mma, mma}};
}

}  // namespace headscope::cli::bench
