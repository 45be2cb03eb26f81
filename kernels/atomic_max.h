#pragma once

#include <atomic>

namespace headscope {

/// Raises a cell that several tasks share to `weight` if that is larger; NaN is left out. The result does not
/// depend on the order of the calls.
inline void raise_cell(float* cell, float weight) {
  std::atomic_ref<float> shared(*cell);
  float seen = shared.load(std::memory_order_relaxed);
  while (weight > seen && !shared.compare_exchange_weak(seen, weight, std::memory_order_relaxed)) {
  }
}

}  // namespace headscope
