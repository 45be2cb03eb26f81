#pragma once

#include "app/cli/command.h"

namespace headscope::cli {

/// For every command, before LibTorch does anything: refuses a --device that cannot be had, with the reason.
void check_device(const GlobalOptions&);

/// For what is about to run a model: where --device auto takes the CPU although the machine has an NVIDIA driver, a
/// note says why.
void note_device(const Context&);

}  // namespace headscope::cli
