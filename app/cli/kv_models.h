#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/arch/architecture.h"

namespace headscope::cli {

/// A model as far as sizes need it: its weights may be nowhere near.
struct KvModel {
  std::string name;
  Architecture architecture;
  int64_t parameters = 0;
  std::string source;                ///< "checkpoint models/gpt2", "config models/gpt2/config.json", "published as ..."
  std::filesystem::path checkpoint;  ///< what open_checkpoint takes; empty when there are no weights
  std::vector<std::string> notes;
};

/// Finds a model by what the user wrote, in this order: a file or folder of that path (a checkpoint; a folder that has
/// config.json and no weights; a config as a .json file), a published model ("gpt2", "EleutherAI/pythia-160m").
/// Reads headers only. Throws Error for what is neither, with the nearest names, and for files that cannot be read.
KvModel find_kv_model(const std::string& given);

}  // namespace headscope::cli
