#pragma once

#include <filesystem>
#include <memory>

#include "core/io/checkpoint.h"

namespace headscope {

/// Opens a folder as Hugging Face writes it: config.json; model.safetensors, or model.safetensors.index.json with
/// its shards; tokenizer.json, or vocab.json + merges.txt (+ tokenizer_config.json). Files may be symbolic links, as in
/// its cache. Only these names are opened; the folder is listed only for a note on custom code, and to say what is in it when
/// there are no weights.
std::unique_ptr<Checkpoint> open_hf_folder(const std::filesystem::path& folder);

}  // namespace headscope
