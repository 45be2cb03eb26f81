#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "kernels/parallel.h"

namespace headscope {

/// A plain pool of threads: the tile lane, tests and benchmarks lend it to kernels. The calling thread works
/// too (as worker 0), so a pool of one starts no thread. `run` may be called from one thread at a time, and
/// not from inside a body.
class ThreadPool final : public ParallelFor {
 public:
  /// Starts workers - 1 threads; fewer than 1 counts as 1. Throws std::system_error, with no thread left, when the
  /// system refuses one.
  explicit ThreadPool(int workers);
  ~ThreadPool() override;
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int workers() const override { return static_cast<int>(threads_.size()) + 1; }
  void run(int64_t tasks, const std::function<void(int64_t, int)>& body) const override;

 private:
  struct Job {
    const std::function<void(int64_t, int)>* body = nullptr;
    int64_t tasks = 0;
    std::atomic<int64_t> next{0};
  };

  void work(int worker);
  void close();  ///< ends and joins the threads
  static void drain(Job& job, int worker);

  // `run` is const for its callers, who lend the pool around; what it guards is the hand-over of one job.
  mutable std::mutex mutex_;
  mutable std::condition_variable wake_;
  mutable std::condition_variable done_;
  mutable Job job_;
  mutable uint64_t generation_ = 0;  ///< counts jobs, so that a worker takes each once
  mutable int busy_ = 0;             ///< threads that have not finished the current job
  bool closing_ = false;
  std::vector<std::jthread> threads_;
};

}  // namespace headscope
