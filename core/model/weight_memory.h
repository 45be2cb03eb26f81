#pragma once

#include <ATen/core/Tensor.h>

#include "core/model/weights.h"

namespace headscope {

/// An uninitialised tensor on the CPU for a weight, which is allocated once and kept.
///
/// A large one gets pages of its own: they go back to the system when it is freed (malloc keeps holes between weights
/// that stay, 6 % of a Pythia-410M), and huge pages are asked for, which are filled and read faster. Throws
/// std::bad_alloc.
at::Tensor empty_weight(at::IntArrayRef shape, at::ScalarType);

/// Bytes of the storages that hold the weights, each once.
int64_t storage_bytes(const Weights&);

}  // namespace headscope
