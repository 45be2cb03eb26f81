#include "app/cli/device.h"

#include "app/cli/terminal.h"
#include "core/base/error.h"
#include "core/data/cuda_library.h"

namespace headscope::cli {
namespace {

/// Why models do not run on the GPU, as a part of a sentence.
std::string why_not(const CudaAccess& cuda) {
  if (!cuda.refusal.empty()) return cuda.refusal;
  return fmt::format("this version of HeadScope runs models on the CPU alone, though {} could be used",
                     quoted(cuda.device_name));
}

}  // namespace

void check_device(const GlobalOptions& global) {
  if (global.device != "cuda") return;
  fail("--device cuda is not available: {}; use --device cpu", why_not(open_cuda()));
}

void note_device(const Context& context) {
  if (context.global.device != "auto") return;
  const CudaAccess cuda = open_cuda();
  if (cuda.no_driver) return;
  const std::string note = fmt::format("running on the CPU: {}", why_not(cuda));
  print_notes(context, std::span(&note, 1));
}

}  // namespace headscope::cli
