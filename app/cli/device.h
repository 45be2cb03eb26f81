#pragma once

#include <memory>

#include "app/cli/command.h"
#include "core/data/device.h"

namespace headscope::cli {

/// For every command, before LibTorch does anything: refuses a --device that cannot be had, with the reason.
void check_device(const GlobalOptions&);

/// Where --device has models run. For auto that is the GPU, or else the CPU; a note says why where the machine has an
/// NVIDIA driver.
std::shared_ptr<const Device> chosen_device(const Context&);

}  // namespace headscope::cli
