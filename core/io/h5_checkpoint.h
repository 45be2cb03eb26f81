#pragma once

#include <filesystem>
#include <memory>

#include "core/io/checkpoint.h"

// HeadScope's own checkpoint file, HDF5. Version 1:
//   /                    attributes format = "headscope", format_version = 1
//   /config              u8 [bytes]: config.json as it was
//   /tokenizer           u8 [bytes]: tokenizer.json as it was; absent if there is none
//   /tokenizer_vocab     u8 [bytes]: vocab.json   } when there is no tokenizer.json
//   /tokenizer_merges    u8 [bytes]: merges.txt   }
//   /tokenizer_config    u8 [bytes]: tokenizer_config.json, where it stood beside that pair
//   /tensors/000000 ...  one dataset per tensor in file order; attributes name (text) and dtype (text, as
//                        safetensors spells it). A name can hold anything, so it never becomes a path.
// How a dtype is stored: BF16 as u16, BOOL and the F8 types as u8, F16 as IEEE binary16, the others as themselves; a
// type unknown to HDF5 (C64, F4, ...) as u8 [bytes] with the attribute shape (list of integers).
// Every dataset has the attribute crc32 (integer), zlib's CRC-32 of its bytes, little-endian; for a tensor, of its
// name, a line feed, its dtype, a line feed and its bytes. The group /tensors has one of the
// names and dtypes alone. They are checked whenever the whole is read; a file made elsewhere may leave them out.

namespace headscope {

inline constexpr int64_t h5_checkpoint_version = 1;

/// Opens it, after having opened it in a process of its own: damage that makes libhdf5 crash is an Error too.
std::unique_ptr<Checkpoint> open_h5_checkpoint(const std::filesystem::path& file);

}  // namespace headscope
