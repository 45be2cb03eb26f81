#pragma once

#include <algorithm>
#include <atomic>

#include <ATen/Parallel.h>

#include "kernels/parallel.h"

namespace headscope {

/// LibTorch's own threads, so that attention and linear layers share one team.
class TorchWorkers final : public ParallelFor {
 public:
  int workers() const override { return at::get_num_threads(); }
  void run(int64_t tasks, const std::function<void(int64_t, int)>& body) const override {
    std::atomic<int64_t> next{0};
    at::parallel_for(0, std::min<int64_t>(workers(), tasks), 1, [&](int64_t begin, int64_t end) {
      for (int64_t worker = begin; worker < end; ++worker) {
        for (int64_t task = next++; task < tasks; task = next++) body(task, static_cast<int>(worker));
      }
    });
  }
};

}  // namespace headscope
