#include "kernels/thread_pool.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <memory>
#include <system_error>

namespace headscope {
namespace {

TEST(ThreadPool, RunsEveryTaskOnce) {
  const ThreadPool pool(4);
  EXPECT_EQ(pool.workers(), 4);
  std::array<std::atomic<int>, 1000> seen{};
  pool.run(1000, [&](int64_t task, int) { ++seen[static_cast<size_t>(task)]; });
  for (const auto& count : seen) ASSERT_EQ(count, 1);
}

TEST(ThreadPool, NoTwoCallsShareAWorker) {
  const ThreadPool pool(3);
  std::array<std::atomic<int>, 3> inside{};
  std::atomic<int> clashes{0};
  pool.run(3000, [&](int64_t, int worker) {
    if (worker < 0 || worker >= 3 || inside[static_cast<size_t>(worker)]++ != 0) {
      ++clashes;
      return;
    }
    std::this_thread::yield();
    --inside[static_cast<size_t>(worker)];
  });
  EXPECT_EQ(clashes, 0);
}

TEST(ThreadPool, ManyShortJobsInARow) {
  const ThreadPool pool(3);
  std::atomic<int64_t> sum{0};
  for (int64_t job = 0; job < 2000; ++job) {
    pool.run(job % 5, [&](int64_t task, int) { sum += task + 1; });
  }
  EXPECT_EQ(sum, 400 * (0 + 1 + 3 + 6 + 10));
}

TEST(ThreadPool, UsesOtherThreads) {
  const ThreadPool pool(2);
  std::atomic<bool> met{false};
  std::atomic<int> arrived{0};
  // Two tasks that wait for each other finish only if two threads run them.
  pool.run(2, [&](int64_t, int) {
    ++arrived;
    while (arrived < 2) std::this_thread::yield();
    met = true;
  });
  EXPECT_TRUE(met);
}

TEST(ThreadPool, FewerThanOneWorkerIsOne) {
  const ThreadPool pool(0);
  EXPECT_EQ(pool.workers(), 1);
  int tasks = 0;
  pool.run(7, [&](int64_t, int worker) { tasks += worker == 0; });
  EXPECT_EQ(tasks, 7);
}

TEST(ThreadPool, EndsWithoutEverRunning) {
  for (int i = 0; i < 50; ++i) std::make_unique<ThreadPool>(3);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // their shadow memory does not fit into the limit
/// In a process that has no room for so many stacks; the alarm ends one that hangs.
[[noreturn]] void start_too_many_threads() {
  const rlimit limit{rlim_t{1} << 30, rlim_t{1} << 30};
  alarm(60);
  if (setrlimit(RLIMIT_AS, &limit) != 0) std::_Exit(2);
  try {
    const ThreadPool pool(4096);
  } catch (const std::system_error&) {
    std::_Exit(0);
  }
  std::_Exit(1);
}

TEST(ThreadPoolDeathTest, AThreadThatCannotStartIsAnError) {
  EXPECT_EXIT(start_too_many_threads(), ::testing::ExitedWithCode(0), "");
}
#endif

}  // namespace
}  // namespace headscope
