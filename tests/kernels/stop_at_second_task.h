#pragma once

#include <stop_token>

#include "kernels/parallel.h"

namespace headscope::testing {

/// Asks for a stop when the second task is due; of a kernel of a GPU, which asks for the stream before each launch,
/// when the second launch is.
class StopAtSecondTask final : public ParallelFor {
 public:
  explicit StopAtSecondTask(std::stop_source& source) : source_(source) {}
  int workers() const override { return 1; }
  void run(int64_t tasks, const std::function<void(int64_t, int)>& body) const override {
    for (int64_t task = 0; task < tasks; ++task) {
      if (task == 1) source_.request_stop();
      body(task, 0);
    }
  }
  void* stream() const override {
    if (++launches_ == 2) source_.request_stop();
    return nullptr;
  }

 private:
  std::stop_source& source_;
  mutable int launches_ = 0;
};

}  // namespace headscope::testing
