#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>

namespace headscope {

/// One thread that does jobs in order. Jobs have keys: a new one takes the place of the queued one with its key, so
/// that nobody waits for what is no longer wanted. A job gets a stop token and should look at it often. Thread-safe.
/// What a job captured is released on the lane's thread once it has run, or on the thread that drops it.
class Lane {
 public:
  using Job = std::function<void(std::stop_token)>;
  /// Told on the lane's thread of a job that threw. It must not throw itself.
  using Failed = std::function<void(const std::string& key, const std::string& what)>;

  /// `name` is the thread's, for debuggers. `begin` runs first on the new thread (lower its priority there).
  explicit Lane(std::string name, std::function<void()> begin = {}, Failed failed = {});
  /// Asks the running job to stop, drops the queued ones and waits for the thread.
  ~Lane();
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  /// Queues a job; of `priority` jobs, higher ones go first, equal ones in the order they came. A job that takes the
  /// place of one with its key and priority keeps that one's turn. Jobs are to catch what they throw; what still
  /// escapes goes to `failed` and the lane goes on, because a window must not end over one picture. Cancelled is no
  /// failure.
  void submit(std::string key, Job job, int priority = 0);
  /// Drops the queued job of this key and asks a running one to stop. Does not wait.
  void cancel(std::string_view key);
  /// The same for every key that begins with `prefix`.
  void cancel_all(std::string_view prefix = {});
  /// Whether nothing is queued or running.
  bool idle() const;
  /// Waits until it is idle. Not from a job.
  void drain();

 private:
  struct Entry {
    std::string key;
    Job job;
    int priority = 0;
  };
  void work(std::stop_token stop);
  void perform(Entry entry, std::stop_token stop);
  template <class Wanted>
  void drop(Wanted unwanted);

  mutable std::mutex mutex_;
  mutable std::condition_variable_any wake_;
  std::deque<Entry> queue_;
  std::string running_;  ///< key of the running job, meaningful while `busy_`
  bool busy_ = false;
  std::stop_source job_stop_;
  Failed failed_;
  std::jthread thread_;  ///< last: its end is waited for before the rest is gone
};

/// Gives way to the window: lowers the calling thread's priority by `steps` of nice, and with it that of threads which
/// it starts from now on. Where the system has no priorities of threads, nothing happens.
void lower_thread_priority(int steps);

}  // namespace headscope
