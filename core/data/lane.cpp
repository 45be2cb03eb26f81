#include "core/data/lane.h"

#include <algorithm>
#include <optional>
#include <vector>

#ifdef __linux__
#include <pthread.h>
#include <sys/resource.h>
#endif

#include "core/base/error.h"

namespace headscope {
namespace {

void name_thread(const std::string& name) {
#ifdef __linux__
  pthread_setname_np(pthread_self(), name.substr(0, 15).c_str());  // longer ones are refused
#else
  (void)name;
#endif
}

/// Calls `work` and returns what it threw, in words; empty when it did not fail.
template <class Work>
std::string failure_of(const Work& work) {
  try {
    work();
  } catch (const Cancelled&) {
  } catch (const std::exception& e) {
    return e.what();
  } catch (...) {
    return "an unknown failure";
  }
  return {};
}

}  // namespace

Lane::Lane(std::string name, std::function<void()> begin, Failed failed)
    : failed_(std::move(failed)),
      thread_([this, name = std::move(name), begin = std::move(begin)](std::stop_token stop) {
        name_thread(name);
        if (begin) {
          const std::string what = failure_of(begin);
          if (!what.empty() && failed_) failed_(name, what);
        }
        work(std::move(stop));
      }) {}

Lane::~Lane() {
  thread_.request_stop();  // before the running job ends, so that no other begins
  cancel_all();
}

void Lane::submit(std::string key, Job job, int priority) {
  Entry dropped;  // what it holds is released after the lock
  {
    const std::lock_guard lock(mutex_);
    const auto same = std::find_if(queue_.begin(), queue_.end(), [&](const Entry& e) { return e.key == key; });
    if (same != queue_.end() && same->priority == priority) {
      std::swap(dropped.job, same->job);
      same->job = std::move(job);
    } else {
      if (same != queue_.end()) {
        dropped = std::move(*same);
        queue_.erase(same);
      }
      queue_.push_back({std::move(key), std::move(job), priority});
    }
  }
  wake_.notify_all();
}

template <class Wanted>
void Lane::drop(Wanted unwanted) {
  std::vector<Entry> dropped;
  std::optional<std::stop_source> running;
  {
    const std::lock_guard lock(mutex_);
    const auto kept =
        std::stable_partition(queue_.begin(), queue_.end(), [&](const Entry& e) { return !unwanted(e.key); });
    dropped.assign(std::make_move_iterator(kept), std::make_move_iterator(queue_.end()));
    queue_.erase(kept, queue_.end());
    if (busy_ && unwanted(running_)) running = job_stop_;
  }
  if (running) running->request_stop();  // runs callbacks, which may call the lane
  wake_.notify_all();
}

void Lane::cancel(std::string_view key) {
  drop([key](std::string_view other) { return other == key; });
}

void Lane::cancel_all(std::string_view prefix) {
  drop([prefix](std::string_view key) { return key.starts_with(prefix); });
}

bool Lane::idle() const {
  const std::lock_guard lock(mutex_);
  return !busy_ && queue_.empty();
}

void Lane::drain() {
  std::unique_lock lock(mutex_);
  wake_.wait(lock, [this] { return !busy_ && queue_.empty(); });
}

void Lane::work(std::stop_token stop) {
  for (;;) {
    Entry entry;
    std::stop_token job_stop;
    {
      std::unique_lock lock(mutex_);
      if (!wake_.wait(lock, stop, [this] { return !queue_.empty(); })) return;
      if (stop.stop_requested()) return;
      const auto next = std::max_element(queue_.begin(), queue_.end(),
                                         [](const Entry& a, const Entry& b) { return a.priority < b.priority; });
      entry = std::move(*next);
      queue_.erase(next);
      running_ = entry.key;
      busy_ = true;
      job_stop_ = {};
      job_stop = job_stop_.get_token();
    }
    perform(std::move(entry), std::move(job_stop));
    {
      const std::lock_guard lock(mutex_);
      busy_ = false;
    }
    wake_.notify_all();
  }
}

/// Does one job and releases it, before anybody is told that the lane is idle.
void Lane::perform(Entry entry, std::stop_token stop) {
  const std::string what = failure_of([&] { entry.job(std::move(stop)); });
  entry.job = {};
  if (!what.empty() && failed_) failed_(entry.key, what);
}

void lower_thread_priority(int steps) {
#ifdef __linux__
  const int now = getpriority(PRIO_PROCESS, 0);  // on Linux 0 is the calling thread, not the process
  (void)setpriority(PRIO_PROCESS, 0, std::min(19, now + steps));
#else
  (void)steps;
#endif
}

}  // namespace headscope
