#pragma once

#include <atomic>
#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/attention.h"

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

/// Adds to the sum of a cell that several tasks share. A negative amount stands for NaN, which stays.
inline void add_to_cell(int64_t* cell, int64_t amount) {
  std::atomic_ref<int64_t> shared(*cell);
  if (amount < 0) {
    shared.store(Thumbnails::sum_of_nan, std::memory_order_relaxed);
    return;
  }
  int64_t seen = shared.load(std::memory_order_relaxed);
  while (amount > 0 && seen >= 0 && !shared.compare_exchange_weak(seen, seen + amount, std::memory_order_relaxed)) {
  }
}

}  // namespace headscope
