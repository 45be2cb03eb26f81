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

/// `kOperation` with products in pairs or not.
template <bool kPairs, auto kOperation>
struct Entry;
template <bool kPairs, class Result, class... Rest, Result (*kOperation)(const CpuProblem&, Rest...)>
struct Entry<kPairs, kOperation> {
  static Result call(const AttentionProblem& p, Rest... rest) { return kOperation(CpuProblem{p, kPairs}, rest...); }
};

template <bool kPairs>
AttentionKernel kernel(std::string_view name, decltype(AttentionKernel::unsupported) unsupported) {
  return {.name = name,
          .device = "cpu",
          .unsupported = unsupported,
          .forward_workspace = Entry<kPairs, forward_workspace>::call,
          .forward = Entry<kPairs, forward>::call,
          .tiles_workspace = Entry<kPairs, tiles_workspace>::call,
          .tiles = Entry<kPairs, tiles>::call,
          .map_statistics_workspace = Entry<kPairs, map_statistics_workspace>::call,
          .map_statistics = Entry<kPairs, map_statistics>::call,
          .divergence_workspace = Entry<kPairs, divergence_workspace>::call,
          .divergence = Entry<kPairs, divergence>::call};
}
inline AttentionKernel kernel(std::string_view name) { return kernel<false>(name, unsupported_on_cpus); }

#if HWY_TARGET == HWY_AVX3
/// Needs AVX512_BF16.
inline AttentionKernel attention_pair_kernel() {
  return kernel<true>("cpu/AVX512_BF16", [](const AttentionProblem& p) -> std::optional<std::string> {
    for (const InputRows& rows : {p.q, p.k, p.v}) {
      if (rows.element != Element::bf16) return "q, k and v are not all bf16";
    }
    if (p.key_rotation.cosines) return "keys that are rotated when they are read are no longer bf16";
    return unsupported_on_cpus(p);
  });
}
#endif

}  // namespace headscope::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace headscope {

std::vector<AttentionKernel> cpu_attention_kernels() {
  const int64_t supported = hwy::SupportedTargets();
  std::vector<AttentionKernel> kernels;
  if (supported & HWY_SSE4) kernels.push_back(cpu::N_SSE4::kernel("cpu/SSE4"));
  if (supported & HWY_AVX2) kernels.push_back(cpu::N_AVX2::kernel("cpu/AVX2"));
  if (supported & HWY_AVX3) {
    kernels.push_back(cpu::N_AVX3::kernel("cpu/AVX3"));
    if (__builtin_cpu_supports("avx512bf16")) kernels.push_back(cpu::N_AVX3::attention_pair_kernel());
  }
  return kernels;
}

}  // namespace headscope
#endif

#else

namespace headscope {

std::vector<AttentionKernel> cpu_attention_kernels() { return {}; }

}  // namespace headscope

#endif
