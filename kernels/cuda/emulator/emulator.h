#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>

#include "kernels/cuda/device_limits.h"

namespace headscope::cuda::emulator {

/// Runs kernels of kernels/cuda on the calling thread of the CPU: every thread of a block is a fiber that stops at
/// barriers and warp operations, and blocks come one after the other. It is as unhelpful as a GPU may be:
/// - a warp runs as far as it can before another one does, and the order of the warps changes from barrier to barrier,
///   so results that lean on an unstated order show;
/// - shared memory starts as NaN, and a block that writes behind the end of its share is found out;
/// - copies in the background happen when they are waited for, not before.

/// A kernel that cannot go on: threads wait at different places, a warp takes apart into different operations, or
/// shared memory was overrun.
class EmulationError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

struct Launch {
  const char* name = "";
  unsigned blocks_x = 1, blocks_y = 1, blocks_z = 1;
  int threads = 32;
  size_t shared_bytes = 0;
};

/// Calls `thread()` once for every thread of every block. Throws EmulationError.
void run(const Launch&, const std::function<void()>& thread);

/// The GPU that is emulated.
struct Machine {
  DeviceLimits limits;
  bool runs = true;  ///< otherwise launches are looked at and left out: what they would write is not written
};
/// Of the calling thread: an H200, or what the innermost OnMachine says.
const Machine& machine();

/// Kernels that this thread starts while it lives are those of another machine.
class OnMachine {
 public:
  explicit OnMachine(const Machine&);
  ~OnMachine();
  OnMachine(const OnMachine&) = delete;
  OnMachine& operator=(const OnMachine&) = delete;

 private:
  Machine machine_;
  const Machine* outer_;
};

// What a thread of a kernel asks for. Only within `run`.

struct Place {
  unsigned block_x, block_y, block_z;
  unsigned blocks_x, blocks_y, blocks_z;
  int thread, threads;
};
const Place& place();
std::byte* shared_memory();
void block_barrier();

/// The 32 lanes of a warp meet: `execute` is called once with what every lane brought, lane 0 first, and then all go
/// on. Lanes must call it with the same `execute`.
void meet(void* mine, void (*execute)(void* const* lanes));

void copy_async(void* to, const void* from, bool valid);
void commit_copies();
void wait_for_copies(size_t open);

}  // namespace headscope::cuda::emulator
