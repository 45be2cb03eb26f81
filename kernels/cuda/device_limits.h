#pragma once

#include <cstddef>

namespace headscope::cuda {

/// What of a GPU the plans of kernels go by; by default an H200's. Two devices whose limits differ may cut the same
/// problem otherwise, and round otherwise: a result hangs on the problem and on these limits, and on nothing else.
struct DeviceLimits {
  size_t block_bytes = 227 * 1024;  ///< most shared memory that a block may ask for
  size_t multiprocessor_bytes =
      228 * 1024;  ///< of all blocks of a multiprocessor; each costs 1 KiB beside what it asks for
  int multiprocessors = 132;

  /// What a block may ask for where `blocks` shall share a multiprocessor.
  size_t bytes_of_one_of(size_t blocks) const { return (multiprocessor_bytes - blocks * 1024) / blocks; }
};

}  // namespace headscope::cuda
