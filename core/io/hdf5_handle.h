#pragma once

// What the HDF5 reader and writer share; nothing else includes this.

#include <hdf5.h>

#include <filesystem>
#include <string>
#include <string_view>

#include "core/io/checkpoint.h"
#include "core/io/hdf5.h"

namespace headscope {

/// HDF5's own printing off (it is per thread) and its plugins off, so no file can make it load a library. Called
/// before a file is opened; doing so again is harmless.
void prepare_hdf5();

/// Throws: "cannot `action` `file`: ..." with the library's innermost reason, in plain words where it is known.
[[noreturn]] void hdf5_fail(const std::filesystem::path& file, std::string_view action);

/// Takes an id that the library returned; throws as above if it is not one.
Hdf5Id take_id(int64_t id, herr_t (*close)(hid_t), const std::filesystem::path& file, std::string_view action);

/// Opens for reading, without a lock where the file system has none.
Hdf5Id open_hdf5(const std::filesystem::path& file);

/// The type of one element on disk and in memory: little-endian, equal to the machine's own. `f16` is IEEE
/// binary16; `bf16` and `boolean` have no type of their own in HDF5 (see h5_checkpoint.h).
Hdf5Id element_type(DType dtype, const std::filesystem::path& file);

/// A scalar type for variable-length UTF-8 text.
Hdf5Id text_type(const std::filesystem::path& file);

}  // namespace headscope
