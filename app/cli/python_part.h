#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/base/progress.h"

namespace headscope::cli {

struct PickleConversion {
  std::vector<std::filesystem::path> files;  ///< the pickle checkpoints, read in this order
  std::filesystem::path out;                 ///< the safetensors file to make
  bool tied = true;                          ///< tensors under two names are written once
};

/// Runs import_pickles.py in a process of its own: the Python that HEADSCOPE_PYTHON names, else that of the LibTorch
/// this program runs on. Nothing but weights is unpickled, and the process has no network. Returns its notes. Throws
/// Error with its sentence, or when it ends in another way; Cancelled when a stop is requested, which ends it at once.
/// `out` may then be there in part: removing it is the caller's.
std::vector<std::string> convert_pickles(const PickleConversion&, const Progress&);

}  // namespace headscope::cli
