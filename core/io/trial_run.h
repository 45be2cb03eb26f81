#pragma once

#include <functional>

namespace headscope {

struct TrialLimits {
  int cpu_seconds = 0;    ///< of computing; an action that needs more counts as crashed
  int total_seconds = 0;  ///< of waiting and computing
};

enum class TrialEnd {
  survived,  ///< the action came to an end, by returning or by throwing
  crashed,   ///< it crashed, aborted, ended the process or computed without end
  too_slow,  ///< it was still waiting, for a disk perhaps, after `total_seconds`: no sign of damage
};

/// Runs `action` in a copy of this process and tells how it ended. For libraries that untrusted input can crash; run
/// `action` here only if it survived. In the copy only the calling thread exists, so `action` must not wait for another
/// one, nor touch torch, GL or the terminal. SIGINT, SIGTERM and SIGHUP do not reach the copy. Throws Error if the
/// process cannot be copied, or if another signal from outside ended the copy.
TrialEnd trial_run(const std::function<void()>& action, const TrialLimits& limits);

}  // namespace headscope
