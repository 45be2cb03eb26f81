// The loops that measure the machine do the work that they say they do.
#include "kernels/bench/limits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace headscope {
namespace {

TEST(Limits, ReadsEveryNumberOnce) {
  for (const int64_t count : {1, 63, 64, 1000, 4099}) {
    std::vector<float> numbers(static_cast<size_t>(count));
    double expected = 0;
    for (size_t i = 0; i < numbers.size(); ++i) expected += numbers[i] = static_cast<float>(i % 7);
    const LoopWork done = read_loop(numbers.data(), count);
    EXPECT_EQ(done.sum, static_cast<float>(expected)) << count;
    EXPECT_EQ(done.count, static_cast<double>(count) * 4);
  }
}

TEST(Limits, TakesTheExpOfEveryValue) {
  double expected = 0;
  for (int i = 0; i < 1024; ++i) expected += std::exp(-20.0 * i / 1024);
  for (const int64_t rounds : {1, 5}) {
    const LoopWork done = exp_loop(rounds);
    const double all = expected * static_cast<double>(rounds);
    EXPECT_NEAR(done.sum, all, all * 1e-5);
    EXPECT_EQ(done.count, 1024.0 * static_cast<double>(rounds));
  }
}

TEST(Limits, TakesTheLogarithmOfEveryValue) {
  double expected = 0;
  for (int i = 1; i <= 1024; ++i) expected += std::log2(i / 1024.0);
  for (const int64_t rounds : {1, 5}) {
    const LoopWork done = log_loop(rounds);
    const double all = expected * static_cast<double>(rounds);
    EXPECT_NEAR(done.sum, all, -all * 1e-5);
    EXPECT_EQ(done.count, 1024.0 * static_cast<double>(rounds));
  }
}

/// Each of the sums goes to 2 by halves; there are count / 2 / rounds of them, which start at 1.458 on average.
TEST(Limits, MultipliesAndAddsAsOftenAsItSays) {
  constexpr double start = (0 + 0.25 + 0.5 + 0.75 + 1 + 1.25 + 1.5 + 1.75 + 2.25 + 2.5 + 2.75 + 3) / 12;
  for (const int64_t rounds : {1, 2, 10}) {
    const LoopWork done = fma_loop(rounds);
    const double sums = done.count / 2 / static_cast<double>(rounds);
    EXPECT_EQ(std::fmod(sums, 12 * 4), 0) << "twelve vectors of four numbers or more";
    EXPECT_NEAR(done.sum, sums * (2 + (start - 2) * std::pow(0.5, static_cast<double>(rounds))), 1e-3) << rounds;
  }
}

TEST(Limits, NamesTheVectorsOfThisMachine) { EXPECT_THAT(vector_targets(), testing::Not(testing::IsEmpty())); }

}  // namespace
}  // namespace headscope
