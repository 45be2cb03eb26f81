#pragma once

#include <filesystem>
#include <vector>

namespace headscope {

/// Weights as PyTorch's pickle checkpoints: files that only `headscope import` looks into, in a process of their own.
struct PickledWeights {
  std::filesystem::path folder;              ///< where config and tokenizer would be
  std::vector<std::filesystem::path> files;  ///< one or the shards of one model, judged by their first bytes
};

/// What `source` means: one such file, or a folder with pytorch_model.bin, with pytorch_model.bin.index.json and its
/// shards, or with exactly one pickle of another name. Throws Error for anything else, naming what it is.
PickledWeights find_pickled_weights(const std::filesystem::path& source);

}  // namespace headscope
