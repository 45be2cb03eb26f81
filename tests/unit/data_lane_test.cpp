#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <memory>

#include "core/base/error.h"
#include "core/data/lane.h"

namespace headscope {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

/// Holds the lane in a job of this name until it is opened or asked to stop.
struct Gate {
  std::latch entered{1}, open{1};
  std::atomic<bool> stopped = false;

  void hold(Lane& lane, const std::string& key = "gate") {
    lane.submit(key, [this](std::stop_token stop) {
      entered.count_down();
      const std::stop_callback on_stop(stop, [this] {
        stopped = true;
        open.count_down();
      });
      open.wait();
    });
    entered.wait();
  }
};

/// What ran, in order. Written on the lane, read after drain().
struct Log {
  std::vector<std::string> names;
  Lane::Job job(const std::string& name) {
    return [this, name](std::stop_token) { names.push_back(name); };
  }
};

TEST(LaneTest, HigherPrioritiesGoFirstAndEqualOnesInOrder) {
  Gate gate;
  Log log;
  Lane lane("test");
  gate.hold(lane);
  for (const char* name : {"a", "b"}) lane.submit(name, log.job(name));
  lane.submit("urgent", log.job("urgent"), 2);
  lane.submit("late", log.job("late"), -1);
  lane.submit("c", log.job("c"));
  EXPECT_FALSE(lane.idle());
  gate.open.count_down();
  lane.drain();
  EXPECT_TRUE(lane.idle());
  EXPECT_THAT(log.names, ElementsAre("urgent", "a", "b", "c", "late"));
}

TEST(LaneTest, ANewerJobTakesThePlaceOfTheQueuedOne) {
  Gate gate;
  Log log;
  Lane lane("test");
  gate.hold(lane);
  lane.submit("a", log.job("a1"));
  lane.submit("b", log.job("b1"));
  lane.submit("c", log.job("c1"));
  lane.submit("a", log.job("a2"));     // keeps its turn
  lane.submit("c", log.job("c2"), 1);  // a new turn
  gate.open.count_down();
  lane.drain();
  EXPECT_THAT(log.names, ElementsAre("c2", "a2", "b1"));
}

TEST(LaneTest, TheRunningJobIsNotReplaced) {
  Gate gate;
  Log log;
  Lane lane("test");
  gate.hold(lane, "same");
  lane.submit("same", log.job("second"));
  EXPECT_FALSE(gate.stopped);
  gate.open.count_down();
  lane.drain();
  EXPECT_THAT(log.names, ElementsAre("second"));
}

TEST(LaneTest, CancelDropsTheQueuedAndStopsTheRunningOne) {
  Gate gate;
  Log log;
  Lane lane("test");
  gate.hold(lane, "running");
  lane.submit("a", log.job("a"));
  lane.submit("ab", log.job("ab"));
  lane.cancel("a");
  EXPECT_FALSE(gate.stopped);
  lane.submit("running", log.job("never"));
  lane.cancel("running");
  lane.drain();
  EXPECT_TRUE(gate.stopped);
  EXPECT_THAT(log.names, ElementsAre("ab"));
}

TEST(LaneTest, CancelAllTakesKeysByPrefix) {
  Gate gate;
  Log log;
  Lane lane("test");
  gate.hold(lane, "7/gate");
  lane.submit("7/a", log.job("7/a"));
  lane.submit("77/a", log.job("77/a"));
  lane.submit("8/a", log.job("8/a"));
  lane.cancel_all("8/");
  EXPECT_FALSE(gate.stopped);
  lane.cancel_all("7/");
  lane.drain();
  EXPECT_TRUE(gate.stopped);
  EXPECT_THAT(log.names, ElementsAre("77/a"));
}

TEST(LaneTest, AStopIsOfOneJobOnly) {
  Gate gate;
  Lane lane("test");
  gate.hold(lane);
  lane.cancel("gate");
  bool asked = true;
  lane.submit("next", [&](const std::stop_token& stop) { asked = stop.stop_requested(); });
  lane.drain();
  EXPECT_FALSE(asked);
}

TEST(LaneTest, ItsEndStopsTheRunningJobAndDropsTheRest) {
  Gate gate;
  Log log;
  {
    Lane lane("test");
    gate.hold(lane);
    lane.submit("queued", log.job("queued"));
  }
  EXPECT_TRUE(gate.stopped);
  EXPECT_THAT(log.names, IsEmpty());
}

TEST(LaneTest, WhatAJobThrowsIsToldAndTheLaneGoesOn) {
  std::vector<std::string> told;
  Log log;
  Lane lane("test", {}, [&](const std::string& key, const std::string& what) { told.push_back(key + ": " + what); });
  lane.submit("a", [](std::stop_token) { fail("no tile {}", 3); });
  lane.submit("b", [](std::stop_token) { throw 5; });
  lane.submit("c", [](std::stop_token) { throw Cancelled(); });
  lane.submit("d", log.job("d"));
  lane.drain();
  EXPECT_THAT(told, ElementsAre("a: no tile 3", "b: an unknown failure"));
  EXPECT_THAT(log.names, ElementsAre("d"));

  Lane silent("test");
  silent.submit("a", [](std::stop_token) { fail("nobody hears it"); });
  silent.drain();
}

TEST(LaneTest, WhatAJobHeldIsReleasedBeforeTheLaneIsIdle) {
  Gate gate;
  Lane lane("test");
  auto run = std::make_shared<int>(1), replaced = std::make_shared<int>(2), dropped = std::make_shared<int>(3);
  const std::weak_ptr<int> watches[] = {run, replaced, dropped};
  gate.hold(lane);
  lane.submit("run", [held = std::move(run)](std::stop_token) {});
  lane.submit("replaced", [held = std::move(replaced)](std::stop_token) {});
  lane.submit("dropped", [held = std::move(dropped)](std::stop_token) {});
  lane.submit("replaced", [](std::stop_token) {});
  EXPECT_TRUE(watches[1].expired());
  lane.cancel("dropped");
  EXPECT_TRUE(watches[2].expired());
  gate.open.count_down();
  lane.drain();
  EXPECT_TRUE(watches[0].expired());
}

TEST(LaneTest, TheBeginningRunsFirstOnTheLanesThread) {
  std::thread::id begun;
  Lane lane("a name longer than systems allow", [&] { begun = std::this_thread::get_id(); });
  std::thread::id ran;
  lane.submit("a", [&](std::stop_token) { ran = std::this_thread::get_id(); });
  lane.drain();
  EXPECT_EQ(begun, ran);
  EXPECT_NE(begun, std::this_thread::get_id());

  bool told = false;
  Lane failing(
      "test", [] { fail("no"); }, [&](const std::string&, const std::string&) { told = true; });
  failing.submit("a", [](std::stop_token) {});
  failing.drain();
  EXPECT_TRUE(told);
}

TEST(LaneTest, JobsMaySubmitJobs) {
  Log log;
  Lane lane("test");
  lane.submit("a", [&](std::stop_token) { lane.submit("a", log.job("again")); });
  lane.drain();
  EXPECT_THAT(log.names, ElementsAre("again"));
}

}  // namespace
}  // namespace headscope
