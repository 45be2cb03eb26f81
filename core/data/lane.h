#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>

namespace headscope {

/// One thread that does jobs in order. Jobs have keys: a new one takes the place of the queued one with its key, so
/// that nobody waits for what is no longer wanted. A job gets a stop token and should look at it often. Thread-safe.
class Lane {
 public:
  using Job = std::function<void(std::stop_token)>;

  /// `name` is the thread's, for debuggers. `begin` runs first on the new thread (lower its priority there).
  explicit Lane(std::string name, std::function<void()> begin = {});
  /// Asks the running job to stop, drops the queued ones and waits for the thread.
  ~Lane();
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  /// Queues a job; of `priority` jobs, higher ones go first, equal ones in the order they came. A job must not throw.
  void submit(std::string key, Job job, int priority = 0);
  /// Drops the queued job of this key and asks a running one to stop. Does not wait.
  void cancel(std::string_view key);
  /// The same for every key that begins with `prefix`.
  void cancel_all(std::string_view prefix = {});
  /// Whether nothing is queued or running.
  bool idle() const;
  /// Waits until it is idle.
  void drain();

 private:
  struct Entry {
    std::string key;
    Job job;
    int priority = 0;
  };
  void work(std::stop_token);

  mutable std::mutex mutex_;
  mutable std::condition_variable_any wake_;
  std::deque<Entry> queue_;
  std::string running_;  ///< key of the running job, meaningful while `busy_`
  bool busy_ = false;
  std::stop_source job_stop_;
  std::jthread thread_;
};

}  // namespace headscope
