#pragma once

#include <functional>

namespace headscope {

/// Runs `action` in a copy of this process and tells whether it came to an end: by returning or by throwing, but not
/// by a crash, an abort or more than `cpu_seconds` of computing (or ten times that in all). For libraries that
/// untrusted input can crash; run `action` here only if this is true. In the copy only the calling thread exists, so
/// `action` must not wait for another one, nor touch torch, GL or the terminal. Throws Error if the process cannot be
/// copied.
bool survives_trial_run(const std::function<void()>& action, int cpu_seconds);

}  // namespace headscope
