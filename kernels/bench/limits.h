#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace headscope {

/// Loops that ask one thing of the processor and as much of it as it gives: what benchmarks compare kernels with. Each
/// runs on the calling thread with the widest vectors of this processor; the caller times it. `sum` depends on all of
/// the work, so that no compiler leaves any out.
struct LoopWork {
  double count = 0;  ///< what was done: operations, values or bytes
  float sum = 0;
};

/// Multiply-adds that stay in registers, independent enough to hide their latency. Counts two operations each.
LoopWork fma_loop(int64_t rounds);

/// exp of `rounds` x 1,024 values in [-20, 0], read from the first-level cache, by the function that the attention
/// kernels use (kernels/cpu/vector_math-inl.h). Counts values.
LoopWork exp_loop(int64_t rounds);

/// The same for their log2, of values in (0, 1].
LoopWork log_loop(int64_t rounds);

/// Reads `count` floats once, in order. Counts bytes.
LoopWork read_loop(const float* data, int64_t count);

/// Highway's targets that this processor can run, the widest first; the loops take the first.
std::vector<std::string> vector_targets();

}  // namespace headscope
