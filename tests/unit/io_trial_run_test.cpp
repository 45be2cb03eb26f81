#include "core/io/trial_run.h"

#include <csignal>
#include <cstdlib>

#include <gtest/gtest.h>

#include "core/base/error.h"

namespace headscope {
namespace {

TEST(TrialRun, returning_and_throwing_are_survived) {
  EXPECT_TRUE(survives_trial_run([] {}, 5));
  EXPECT_TRUE(survives_trial_run([] { fail("an orderly end"); }, 5));
}

TEST(TrialRun, crashes_aborts_and_endless_loops_are_not) {
  EXPECT_FALSE(survives_trial_run([] { raise(SIGSEGV); }, 5));
  EXPECT_FALSE(survives_trial_run([] { std::abort(); }, 5));
  EXPECT_FALSE(survives_trial_run(
      [] {
        for (volatile bool forever = true; forever;) {
        }
      },
      1));
}

TEST(TrialRun, nothing_done_in_it_reaches_this_process) {
  int value = 1;
  EXPECT_TRUE(survives_trial_run([&] { value = 2; }, 5));
  EXPECT_EQ(value, 1);
}

}  // namespace
}  // namespace headscope
