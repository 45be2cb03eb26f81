#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace headscope::cli {

/// The Python that HEADSCOPE_PYTHON names, else that of the LibTorch this program runs on. `user` is the command that
/// needs it, for the message. Throws Error when there is none.
std::filesystem::path find_python(std::string_view user);

/// The torch that such a Python has to have.
std::string_view needed_torch_version();

/// Environment for it, as NAME=value: nothing of ours that could change how torch loads, and no accelerator.
std::vector<std::string> python_environment();

}  // namespace headscope::cli
