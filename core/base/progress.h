#pragma once

#include <functional>
#include <stop_token>
#include <string_view>

#include "core/base/error.h"

namespace headscope {

/// Handed to long work: tells how far it is and whether to stop. Copyable; `report` is called on the working
/// thread and must be quick.
struct Progress {
  std::stop_token stop;
  std::function<void(std::string_view stage, double fraction)> report;

  /// Reports, and throws Cancelled if a stop was requested. `fraction` is in [0, 1].
  void step(std::string_view stage, double fraction) const {
    check();
    if (report) report(stage, fraction);
  }
  void check() const {
    if (stop.stop_requested()) throw Cancelled();
  }
};

}  // namespace headscope
