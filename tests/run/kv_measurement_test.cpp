// Measurements of caches: what is measured in which order, and what is made of it.
#include "core/run/kv_measurement.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

namespace headscope {
namespace {

TEST(KvMeasurement, MedianOfOddAndEvenCounts) {
  EXPECT_EQ(median({7}), 7);
  EXPECT_EQ(median({9, 1, 4}), 4);
  EXPECT_EQ(median({8, 100, 2, 4}), 6) << "the mean of the two in the middle";
  EXPECT_EQ(median({5, 5, 1, 1}), 3);
  EXPECT_EQ(median({-3, 1000000, -2}), -2) << "one that is far off changes nothing";
}

/// Each call as (model, batch, context); its step takes as many seconds as there were calls before.
struct Recorder {
  std::vector<std::array<int64_t, 3>> calls;

  MeasureKv measure() {
    return [this](size_t model, const KvLoad& load) {
      KvMeasurement out;
      out.step_seconds = static_cast<double>(calls.size());
      calls.push_back({static_cast<int64_t>(model), load.batch, load.context});
      return out;
    };
  }
};

TEST(KvMeasurement, EveryModelWarmsUpThenTheyTakeTurns) {
  Recorder recorder;
  const std::vector<KvLoad> loads{{1, 512, 16}, {4, 100, 16}};
  const KvComparison found = measure_in_turns(3, loads, 2, recorder.measure());
  const std::vector<std::array<int64_t, 3>> warm_up{{0, 1, 32}, {1, 1, 32}, {2, 1, 32}};
  const std::vector<std::array<int64_t, 3>> turns{{0, 1, 512}, {1, 1, 512}, {2, 1, 512},
                                                  {0, 4, 100}, {1, 4, 100}, {2, 4, 100}};
  std::vector<std::array<int64_t, 3>> expected = warm_up;
  for (int repeat = 0; repeat < 2; ++repeat) expected.insert(expected.end(), turns.begin(), turns.end());
  EXPECT_EQ(recorder.calls, expected);
  ASSERT_EQ(found.rows.size(), 6u);
  for (size_t row = 0; row < 6; ++row) {
    ASSERT_EQ(found.rows[row].size(), 2u);
    EXPECT_EQ(found.rows[row][0].step_seconds, static_cast<double>(3 + row)) << "the first 3 calls do not count";
    EXPECT_EQ(found.rows[row][1].step_seconds, static_cast<double>(9 + row));
  }
  EXPECT_GT(found.resident_bytes, 1 << 20);
}

TEST(KvMeasurement, WarmsUpBelowTheSmallestLoad) {
  Recorder recorder;
  measure_in_turns(1, std::vector<KvLoad>{{8, 40, 4}, {2, 5, 2}}, 1, recorder.measure());
  EXPECT_EQ(recorder.calls.front(), (std::array<int64_t, 3>{0, 1, 5}));
}

}  // namespace
}  // namespace headscope
