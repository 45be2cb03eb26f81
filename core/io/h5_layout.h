#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/io/checkpoint.h"
#include "core/io/hdf5.h"

// How one tensor lies in a checkpoint .h5 (h5_checkpoint.h), for its reader and its writer.

namespace headscope {

/// The element type and shape of the dataset that stores `tensor`.
struct H5Storage {
  DType dtype;
  std::vector<int64_t> shape;
};
H5Storage h5_storage(const TensorInfo& tensor);

/// The CRC-32 of what precedes the tensor's bytes, "NAME\nDTYPE\n", continuing `crc`.
uint32_t h5_tensor_crc_begin(const TensorInfo& tensor, uint32_t crc = 0);

/// The CRC-32 of "NAME\nDTYPE\n" of all tensors in order: damaged names are noticed before any data is read.
uint32_t h5_list_crc(std::span<const TensorInfo> tensors);

/// Reads the description of the tensor in dataset `object`. Throws Error, naming both, if dataset and attributes
/// disagree.
TensorInfo h5_tensor_info(const Hdf5Reader& file, const std::string& object);

}  // namespace headscope
