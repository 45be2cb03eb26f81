#include "core/io/trial_run.h"

#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/error.h"

namespace headscope {
namespace {

constexpr TrialLimits plenty{.cpu_seconds = 5, .total_seconds = 50};

TEST(TrialRun, returning_and_throwing_are_survived) {
  EXPECT_EQ(trial_run([] {}, plenty), TrialEnd::survived);
  EXPECT_EQ(trial_run([] { fail("an orderly end"); }, plenty), TrialEnd::survived);
}

TEST(TrialRun, crashes_aborts_and_endless_loops_are_not) {
  for (const int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGXCPU}) {
    EXPECT_EQ(trial_run([&] { raise(number); }, plenty), TrialEnd::crashed) << number;
  }
  EXPECT_EQ(trial_run([] { std::abort(); }, plenty), TrialEnd::crashed);
  EXPECT_EQ(trial_run([] { _exit(3); }, plenty), TrialEnd::crashed);
  const auto loop = [] {
    for (volatile bool forever = true; forever;) {
    }
  };
  EXPECT_EQ(trial_run(loop, {.cpu_seconds = 1, .total_seconds = 60}), TrialEnd::crashed);
}

TEST(TrialRun, waiting_too_long_is_no_crash) {
  const auto wait = [] {
    for (;;) pause();
  };
  EXPECT_EQ(trial_run(wait, {.cpu_seconds = 5, .total_seconds = 1}), TrialEnd::too_slow);
}

TEST(TrialRun, signals_meant_for_the_original_do_not_reach_it) {
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    EXPECT_EQ(trial_run([&] { raise(number); }, plenty), TrialEnd::survived) << number;
  }
}

TEST(TrialRun, a_death_by_another_signal_is_an_interruption) {
  for (const int number : {SIGKILL, SIGQUIT}) {
    try {
      trial_run([&] { raise(number); }, plenty);
      FAIL() << "signal " << number << " went unnoticed";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr("interrupted"));
      EXPECT_THAT(error.what(), testing::Not(testing::HasSubstr("damaged")));
    }
  }
}

TEST(TrialRun, nothing_done_in_it_reaches_this_process) {
  int value = 1;
  EXPECT_EQ(trial_run([&] { value = 2; }, plenty), TrialEnd::survived);
  EXPECT_EQ(value, 1);
}

}  // namespace
}  // namespace headscope
