#include "kernels/cpu/attention.h"

#include "hwy/detect_compiler_arch.h"

// The tiles and the list of targets are made for x86; elsewhere the reference does the work alone.
#if HWY_ARCH_X86

// Highway compiles this file once for each vector target by including it again.
#define HWY_BASELINE_TARGETS HWY_SSE4
#define HWY_DISABLED_TARGETS HWY_SSSE3
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention.cpp"
#include "hwy/foreach_target.h"

#include "hwy/highway.h"
#include "kernels/cpu/divergence-inl.h"
#include "kernels/cpu/forward-inl.h"
#include "kernels/cpu/map_statistics-inl.h"
#include "kernels/cpu/tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::cpu::HWY_NAMESPACE {

inline std::optional<std::string> unsupported(const AttentionProblem&) { return std::nullopt; }

inline AttentionKernel kernel(std::string_view name) {
  return {.name = name,
          .device = "cpu",
          .unsupported = unsupported,
          .forward_workspace = forward_workspace,
          .forward = forward,
          .tiles_workspace = tiles_workspace,
          .tiles = tiles,
          .map_statistics_workspace = map_statistics_workspace,
          .map_statistics = map_statistics,
          .divergence_workspace = divergence_workspace,
          .divergence = divergence};
}

}  // namespace headscope::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace headscope {

std::vector<AttentionKernel> cpu_attention_kernels() {
  const int64_t supported = hwy::SupportedTargets();
  std::vector<AttentionKernel> kernels;
  if (supported & HWY_SSE4) kernels.push_back(cpu::N_SSE4::kernel("cpu/SSE4"));
  if (supported & HWY_AVX2) kernels.push_back(cpu::N_AVX2::kernel("cpu/AVX2"));
  if (supported & HWY_AVX3) kernels.push_back(cpu::N_AVX3::kernel("cpu/AVX3"));
  return kernels;
}

}  // namespace headscope
#endif

#else

namespace headscope {

std::vector<AttentionKernel> cpu_attention_kernels() { return {}; }

}  // namespace headscope

#endif
