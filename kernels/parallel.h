#pragma once

#include <cstdint>
#include <functional>

namespace headscope {

/// The caller's threads, lent to a kernel for the length of one call.
/// Kernels never start threads of their own: the run lane lends LibTorch's OpenMP team, the tile lane
/// and the tests lend a plain pool. Kernels of a GPU take its stream instead.
class ParallelFor {
 public:
  virtual ~ParallelFor() = default;

  /// Number of workers that may call the body at the same time; at least 1. Not to be asked inside a body, where
  /// LibTorch's team may give another answer.
  virtual int workers() const = 0;

  /// Calls `body(task, worker)` once for every task in [0, tasks), in any order, tasks claimed one at a
  /// time from a shared counter. `worker` is in [0, workers()) and no two calls share one at a time, so it
  /// may index scratch memory. Returns when all are done. The body must not throw.
  virtual void run(int64_t tasks, const std::function<void(int64_t task, int worker)>& body) const = 0;

  /// The stream that work for a GPU goes to (cudaStream_t); null: the default one.
  virtual void* stream() const { return nullptr; }
};

/// Runs every task on the calling thread; lends a GPU's stream where one is given.
class SerialFor final : public ParallelFor {
 public:
  explicit SerialFor(void* stream = nullptr) : stream_(stream) {}
  int workers() const override { return 1; }
  void run(int64_t tasks, const std::function<void(int64_t, int)>& body) const override {
    for (int64_t task = 0; task < tasks; ++task) body(task, 0);
  }
  void* stream() const override { return stream_; }

 private:
  void* stream_;
};

}  // namespace headscope
