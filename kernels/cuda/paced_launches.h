#pragma once

#include <stop_token>

#include "kernels/cuda/device.h"
#include "kernels/parallel.h"

namespace headscope::cuda {

/// Starts the launches of one call so that a stop comes through soon: a stream that holds about most_work is waited
/// for before it gets more, and the stop is looked at before each launch, after the stream was asked for.
class PacedLaunches {
 public:
  /// `most_work`: multiply-adds of a launch. No result depends on it.
  PacedLaunches(const ParallelFor& parallel, std::stop_token stop, double most_work = launch_work)
      : parallel_(parallel), stop_(std::move(stop)), most_work_(most_work) {}

  /// How many of `count` pieces of `cost` multiply-adds a launch may hold.
  int64_t at_once(double cost, int64_t count) const {
    if (cost * static_cast<double>(count) <= most_work_) return count;
    return cost < most_work_ ? static_cast<int64_t>(most_work_ / cost) : 1;
  }

  /// Starts a kernel of about `work` multiply-adds; false where a stop was requested.
  template <class Params>
  bool start(const char* name, void (*kernel)(Params), Grid grid, int threads, size_t shared_bytes,
             const Params& params, double work) {
    void* const stream = parallel_.stream();
    if (started_ > 0 && started_ + work > most_work_) {
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
  double most_work_;
  double started_ = 0;  ///< work since the stream was last waited for
};

}  // namespace headscope::cuda
