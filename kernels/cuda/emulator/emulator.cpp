#include "kernels/cuda/emulator/emulator.h"

#include <algorithm>
#include <boost/context/fiber.hpp>
#include <boost/context/fixedsize_stack.hpp>
#include <cstring>
#include <deque>
#include <exception>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

namespace headscope::cuda::emulator {
namespace {

using boost::context::fiber;

constexpr int lanes = 32;
constexpr size_t stack_bytes = 128 * 1024;
constexpr size_t guard_bytes = 256;
constexpr std::byte unset{0xFF};  // NaN in every floating-point type

struct Copy {
  void* to;
  const void* from;
  bool valid;
};

enum class Waiting { none, warp, block, over };

struct Thread {
  Place place;
  fiber context;  ///< of the thread while the scheduler runs, of the scheduler while the thread does
  Waiting waiting = Waiting::none;
  std::deque<std::vector<Copy>> groups;  ///< of copies that are under way
  std::vector<Copy> open;                ///< not yet closed
};

struct Warp {
  int arrived = 0;
  void* brought[lanes] = {};
  void (*execute)(void* const*) = nullptr;
};

/// One block from its start to its end.
class Block {
 public:
  Block(const Launch& launch, const std::function<void()>& thread, uint64_t seed);
  void run();

  Thread& current() { return threads_[static_cast<size_t>(current_)]; }
  Warp& warp() { return warps_[static_cast<size_t>(current_ / lanes)]; }
  std::byte* shared() { return shared_.get(); }
  /// Back to the scheduler, until what the thread waits for has come.
  void pause(Waiting reason);
  void wake_warp();

  void start(int index, const Place& place);

 private:
  void run_warp(int warp);
  bool release_barrier();
  void shuffle_warps();

  const Launch& launch_;
  const std::function<void()>& body_;
  uint64_t random_;
  std::vector<Thread> threads_;
  std::vector<Warp> warps_;
  std::vector<int> order_;
  size_t shared_bytes_;
  std::unique_ptr<std::byte[], void (*)(std::byte*)> shared_;
  int current_ = 0;
  std::exception_ptr error_;  ///< what a thread threw
};

/// The block whose threads run now, as threadIdx and the like are on a GPU: known to the code of a kernel without being
/// handed down.
thread_local Block* running = nullptr;

/// What OnMachine says, as the current device is a property of the thread on a GPU; null: an H200.
thread_local const Machine* chosen = nullptr;

[[noreturn]] void fail(const Launch& launch, const std::string& what) {
  throw EmulationError(std::string(launch.name) + ": " + what);
}

Block::Block(const Launch& launch, const std::function<void()>& body, uint64_t seed)
    : launch_(launch),
      body_(body),
      random_(seed),
      threads_(static_cast<size_t>(launch.threads)),
      warps_(static_cast<size_t>(launch.threads / lanes)),
      order_(warps_.size()),
      shared_bytes_(launch.shared_bytes),
      shared_(static_cast<std::byte*>(::operator new[](shared_bytes_ + guard_bytes, std::align_val_t{128})),
              [](std::byte* memory) { ::operator delete[](memory, std::align_val_t{128}); }) {
  std::memset(shared_.get(), static_cast<int>(unset), shared_bytes_ + guard_bytes);
  std::iota(order_.begin(), order_.end(), 0);
}

void Block::start(int index, const Place& place) {
  Thread& thread = threads_[static_cast<size_t>(index)];
  thread.place = place;
  thread.context =
      fiber(std::allocator_arg, boost::context::fixedsize_stack(stack_bytes), [this, &thread](fiber&& scheduler) {
        thread.context = std::move(scheduler);
        try {
          body_();
        } catch (const boost::context::detail::forced_unwind&) {
          throw;  // the block is given up
        } catch (...) {
          error_ = std::current_exception();
        }
        thread.waiting = Waiting::over;
        return std::move(thread.context);
      });
}

void Block::pause(Waiting reason) {
  Thread& thread = current();
  thread.waiting = reason;
  thread.context = std::move(thread.context).resume();
}

void Block::wake_warp() {
  const int first = current_ / lanes * lanes;
  for (int i = first; i < first + lanes; ++i) threads_[static_cast<size_t>(i)].waiting = Waiting::none;
}

/// Runs the lanes of a warp for as long as one of them can.
void Block::run_warp(int warp) {
  for (bool again = true; again;) {
    again = false;
    for (int i = warp * lanes; i < (warp + 1) * lanes; ++i) {
      Thread& thread = threads_[static_cast<size_t>(i)];
      if (thread.waiting != Waiting::none) continue;
      current_ = i;
      thread.context = std::move(thread.context).resume();
      if (error_) std::rethrow_exception(error_);
      again = true;
    }
  }
}

/// Opens the barrier when all threads that are not over wait at it.
bool Block::release_barrier() {
  bool any = false;
  for (const Thread& thread : threads_) {
    if (thread.waiting == Waiting::warp) return false;
    any = any || thread.waiting == Waiting::block;
  }
  for (Thread& thread : threads_) {
    if (thread.waiting == Waiting::block) thread.waiting = Waiting::none;
  }
  return any;
}

void Block::shuffle_warps() {
  for (size_t i = order_.size(); i > 1; --i) {
    random_ = random_ * 6364136223846793005U + 1442695040888963407U;
    std::swap(order_[i - 1], order_[(random_ >> 33) % i]);
  }
}

void Block::run() {
  for (;;) {
    shuffle_warps();
    for (const int warp : order_) run_warp(warp);
    if (release_barrier()) continue;
    const bool over = std::all_of(threads_.begin(), threads_.end(),
                                  [](const Thread& thread) { return thread.waiting == Waiting::over; });
    if (!over) fail(launch_, "some lanes of a warp wait for others, which do not come");
    break;
  }
  for (size_t i = 0; i < guard_bytes; ++i) {
    if (shared_[shared_bytes_ + i] != unset) fail(launch_, "a block wrote behind the end of its shared memory");
  }
}

void carry_out(const std::vector<Copy>& copies) {
  for (const Copy& copy : copies) {
    if (copy.valid) {
      std::memcpy(copy.to, copy.from, 16);
    } else {
      std::memset(copy.to, 0, 16);
    }
  }
}

}  // namespace

void run(const Launch& launch, const std::function<void()>& thread) {
  if (launch.threads % lanes != 0) fail(launch, "blocks are whole warps");
  uint64_t number = 0;
  for (unsigned z = 0; z < launch.blocks_z; ++z) {
    for (unsigned y = 0; y < launch.blocks_y; ++y) {
      for (unsigned x = 0; x < launch.blocks_x; ++x) {
        Block block(launch, thread, ++number);
        for (int i = 0; i < launch.threads; ++i) {
          block.start(i, {x, y, z, launch.blocks_x, launch.blocks_y, launch.blocks_z, i, launch.threads});
        }
        Block* const outer = std::exchange(running, &block);
        try {
          block.run();
        } catch (...) {
          running = outer;
          throw;
        }
        running = outer;
      }
    }
  }
}

const Machine& machine() {
  static const Machine h200;
  return chosen ? *chosen : h200;
}
OnMachine::OnMachine(const Machine& machine) : machine_(machine), outer_(std::exchange(chosen, &machine_)) {}
OnMachine::~OnMachine() { chosen = outer_; }

const Place& place() { return running->current().place; }

std::byte* shared_memory() { return running->shared(); }

void block_barrier() { running->pause(Waiting::block); }

void meet(void* mine, void (*execute)(void* const*)) {
  Warp& warp = running->warp();
  if (warp.arrived > 0 && warp.execute != execute) {
    throw EmulationError("lanes of one warp came to different operations");
  }
  warp.execute = execute;
  warp.brought[place().thread % lanes] = mine;
  if (++warp.arrived < lanes) {
    running->pause(Waiting::warp);
    return;
  }
  warp.arrived = 0;
  execute(warp.brought);
  running->wake_warp();
}

void copy_async(void* to, const void* from, bool valid) {
  if (reinterpret_cast<uintptr_t>(to) % 16 != 0 || (valid && reinterpret_cast<uintptr_t>(from) % 16 != 0)) {
    throw EmulationError("a copy in the background is not aligned to 16 bytes");
  }
  running->current().open.push_back({to, from, valid});
}

void commit_copies() {
  Thread& thread = running->current();
  thread.groups.push_back(std::exchange(thread.open, {}));
}

void wait_for_copies(size_t open) {
  std::deque<std::vector<Copy>>& groups = running->current().groups;
  for (; groups.size() > open; groups.pop_front()) carry_out(groups.front());
}

}  // namespace headscope::cuda::emulator
