#include "kernels/thread_pool.h"

namespace headscope {

ThreadPool::ThreadPool(int workers) {
  try {
    for (int worker = 1; worker < workers; ++worker) threads_.emplace_back([this, worker] { work(worker); });
  } catch (...) {
    close();  // those that did start wait for a job that never comes
    throw;
  }
}

ThreadPool::~ThreadPool() { close(); }

void ThreadPool::close() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  wake_.notify_all();
  threads_.clear();  // joins before the members that the threads use are gone
}

void ThreadPool::drain(Job& job, int worker) {
  for (;;) {
    const int64_t task = job.next.fetch_add(1, std::memory_order_relaxed);
    if (task >= job.tasks) return;
    (*job.body)(task, worker);
  }
}

void ThreadPool::run(int64_t tasks, const std::function<void(int64_t, int)>& body) const {
  {
    const std::lock_guard lock(mutex_);
    job_.body = &body;
    job_.tasks = tasks;
    job_.next.store(0, std::memory_order_relaxed);
    busy_ = static_cast<int>(threads_.size());
    ++generation_;
  }
  wake_.notify_all();
  drain(job_, 0);
  std::unique_lock lock(mutex_);
  done_.wait(lock, [this] { return busy_ == 0; });
}

void ThreadPool::work(int worker) {
  uint64_t seen = 0;
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [&] { return closing_ || generation_ != seen; });
    if (closing_) return;
    seen = generation_;
    lock.unlock();
    drain(job_, worker);
    lock.lock();
    if (--busy_ == 0) done_.notify_one();
  }
}

}  // namespace headscope
