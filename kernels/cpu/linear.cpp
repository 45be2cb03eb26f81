#include "kernels/linear.h"

#include <vector>

#include "hwy/detect_compiler_arch.h"

// Highway compiles this file once for each vector target by including it again.
#if HWY_ARCH_X86
#define HWY_BASELINE_TARGETS HWY_SSE4
#define HWY_DISABLED_TARGETS HWY_SSSE3
#endif
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/linear.cpp"
#include "hwy/foreach_target.h"

#include "hwy/highway.h"
#include "kernels/cpu/linear-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::cpu::HWY_NAMESPACE {

inline LinearKernel linear_kernel(std::string_view name) {
  return {name, [](const LinearProblem&) { return true; }, linear_workspace, multiply_linear};
}

#if HWY_TARGET == HWY_AVX3
inline LinearKernel pair_kernel() {
  const auto supports = [](const LinearProblem& p) {
    return p.bf16_weights != nullptr && !p.exact && p.tokens > few_tokens;
  };
  return {"cpu/AVX512_BF16", supports, linear_workspace, multiply_many<PairFormat>};
}
#endif

}  // namespace headscope::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace headscope {
namespace {

std::vector<LinearKernel> kernels_of_machine() {
  std::vector<LinearKernel> kernels;
#if HWY_ARCH_X86
  const int64_t supported = hwy::SupportedTargets();
  kernels.push_back(cpu::N_SSE4::linear_kernel("cpu/SSE4"));  // every x86-64 of the last 15 years
  if (supported & HWY_AVX2) kernels.push_back(cpu::N_AVX2::linear_kernel("cpu/AVX2"));
  if (supported & HWY_AVX3) {
    kernels.push_back(cpu::N_AVX3::linear_kernel("cpu/AVX3"));
    if (__builtin_cpu_supports("avx512bf16")) kernels.push_back(cpu::N_AVX3::pair_kernel());
  }
#else
  kernels.push_back(cpu::HWY_NAMESPACE::linear_kernel("cpu"));
#endif
  return kernels;
}

}  // namespace

std::span<const LinearKernel> linear_kernels() {
  static const std::vector<LinearKernel> kernels = kernels_of_machine();
  return kernels;
}

const LinearKernel& select_linear_kernel(const LinearProblem& problem) {
  const std::span<const LinearKernel> kernels = linear_kernels();
  for (size_t i = kernels.size(); i-- > 1;) {
    if (kernels[i].supports(problem)) return kernels[i];
  }
  return kernels.front();
}

}  // namespace headscope
#endif
