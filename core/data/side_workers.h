#pragma once

#include "core/data/device.h"
#include "kernels/parallel.h"

namespace headscope {

/// Somebody's workers, whose work for a GPU goes to the side stream, so that it does not stand in line behind a model.
/// Borrows both.
class SideWorkers final : public ParallelFor {
 public:
  SideWorkers(const ParallelFor& workers, const Device& device) : workers_(workers), stream_(device.side_stream()) {}
  int workers() const override { return workers_.workers(); }
  void run(int64_t tasks, const std::function<void(int64_t, int)>& body) const override { workers_.run(tasks, body); }
  void* stream() const override { return stream_; }

 private:
  const ParallelFor& workers_;
  void* stream_;
};

}  // namespace headscope
