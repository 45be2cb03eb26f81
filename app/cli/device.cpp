#include "app/cli/device.h"

#include "app/cli/terminal.h"
#include "core/model/cuda_device.h"

namespace headscope::cli {

void check_device(const GlobalOptions& global) {
  if (global.device == "cuda") choose_device("cuda");
}

std::shared_ptr<const Device> chosen_device(const Context& context) {
  ChosenDevice chosen = choose_device(context.global.device);
  if (!chosen.note.empty()) print_notes(context, std::span(&chosen.note, 1));
  return std::move(chosen.device);
}

}  // namespace headscope::cli
