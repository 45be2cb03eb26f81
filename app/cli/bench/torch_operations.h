#pragma once

#include <functional>
#include <string>
#include <vector>

namespace headscope::cli::bench {

/// Names of the operations that LibTorch runs on this thread during `work`, each once, in the order of their first
/// call: "aten::linear", "aten::addmm". Recording costs time, so `work` is not to be timed.
std::vector<std::string> torch_operations(const std::function<void()>& work);

}  // namespace headscope::cli::bench
