#pragma once

#include <atomic>
#include <cmath>
#include <limits>

namespace headscope {

/// Raises a cell that several tasks share to `weight` if that is larger. NaN is larger than all and always gets the
/// same bits, so the result does not depend on the order of the calls.
inline void raise_cell(float* cell, float weight) {
  std::atomic_ref<float> shared(*cell);
  if (std::isnan(weight)) {
    shared.store(std::numeric_limits<float>::quiet_NaN(), std::memory_order_relaxed);
    return;
  }
  float seen = shared.load(std::memory_order_relaxed);
  while (weight > seen && !shared.compare_exchange_weak(seen, weight, std::memory_order_relaxed)) {
  }
}

}  // namespace headscope
