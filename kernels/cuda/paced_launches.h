#pragma once

#include <stop_token>

#include "kernels/cuda/device.h"
#include "kernels/parallel.h"

namespace headscope::cuda {

/// Starts the launches of one call so that a stop comes through soon: a stream that holds about launch_work is waited
/// for before it gets more, and the stop is looked at before each launch, after the stream was asked for.
class PacedLaunches {
 public:
  PacedLaunches(const ParallelFor& parallel, std::stop_token stop) : parallel_(parallel), stop_(std::move(stop)) {}

  /// How many of `count` blocks of `cost` multiply-adds a launch may hold.
  static int64_t at_once(double cost, int64_t count) {
    if (cost * static_cast<double>(count) <= launch_work) return count;
    return cost < launch_work ? static_cast<int64_t>(launch_work / cost) : 1;
  }

  /// Starts a kernel of about `work` multiply-adds; false where a stop was requested.
  template <class Params>
  bool start(const char* name, void (*kernel)(Params), Grid grid, int threads, size_t shared_bytes,
             const Params& params, double work) {
    void* const stream = parallel_.stream();
    if (started_ > 0 && started_ + work > launch_work) {
      wait(name, stream);
      started_ = 0;
    }
    if (stop_.stop_requested()) return false;
    launch(name, kernel, grid, threads, shared_bytes, stream, params);
    started_ += work;
    return true;
  }

  /// Fills device memory with zeros, before what is started next.
  void clear(const char* name, void* memory, size_t bytes) const {
    if (bytes > 0) cuda::clear(name, memory, bytes, parallel_.stream());
  }

 private:
  const ParallelFor& parallel_;
  std::stop_token stop_;
  double started_ = 0;  ///< work since the stream was last waited for
};

}  // namespace headscope::cuda
