#include "kernels/kernels.h"

#include <vector>

#include "kernels/cpu/attention.h"
#include "kernels/reference/attention.h"

namespace headscope {

std::optional<std::string> unsupported_on_cpus(const AttentionProblem& p) {
  if (p.lengths) return "lengths in a device's memory are for CUDA's kernels";
  return std::nullopt;
}

std::span<const AttentionKernel> attention_kernels() {
  static const std::vector<AttentionKernel> kernels = [] {
    std::vector<AttentionKernel> list;
    list.push_back(reference_attention_kernel());
    for (const AttentionKernel& kernel : cpu_attention_kernels()) list.push_back(kernel);
    return list;
  }();
  return kernels;
}

const AttentionKernel& select_attention_kernel(const AttentionProblem& problem, std::string_view device) {
  const std::span<const AttentionKernel> kernels = attention_kernels();
  for (size_t i = kernels.size(); i-- > 1;) {
    if (kernels[i].device == device && !kernels[i].unsupported(problem)) return kernels[i];
  }
  return kernels.front();
}

}  // namespace headscope
