#pragma once

#include <stop_token>

#include "kernels/parallel.h"

namespace headscope::testing {

/// Asks for a stop when the second task is due.
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

 private:
  std::stop_source& source_;
};

}  // namespace headscope::testing
