// The comparer itself: a comparison that cannot fail would hide everything else.
#include "tests/support/compare.h"

#include <gtest/gtest.h>

#include "tests/support/guarded.h"

namespace headscope::testing {
namespace {

constexpr float nan = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();
using Floats = std::vector<float>;

TEST(Compare, PassesWithinTheTolerance) {
  EXPECT_TRUE(all_near(Floats{1, 2}, Floats{1, 2.5F}, 0.5));
  EXPECT_TRUE(all_near(Floats{}, Floats{}, 0));
  EXPECT_TRUE(all_near(Floats{-infinity}, Floats{-infinity}, 0));
}

TEST(Compare, FailsJustOutside) {
  EXPECT_FALSE(all_near(Floats{1, 2}, Floats{1, 2.5F}, 0.4999999));
  EXPECT_FALSE(all_near(Floats{1, 2, 3}, Floats{1, std::nextafter(2.0F, 3.0F), 3}, 0));
}

TEST(Compare, FailsOnNaN) {
  EXPECT_FALSE(all_near(Floats{nan}, Floats{1}, 1e30));
  EXPECT_FALSE(all_near(Floats{1}, Floats{nan}, 1e30));
  EXPECT_FALSE(all_near(Floats{nan}, Floats{nan}, 1e30));
  EXPECT_FALSE(all_near(Floats{1}, Floats{2}, nan));
}

TEST(Compare, FailsOnInfinityAndLength) {
  EXPECT_FALSE(all_near(Floats{infinity}, Floats{1}, 1e30));
  EXPECT_FALSE(all_near(Floats{infinity}, Floats{-infinity}, 1e30));
  EXPECT_FALSE(all_near(Floats{1}, Floats{1, 1}, 1e30));
}

TEST(Compare, LargestDifferenceKeepsNaN) {
  const Floats actual{1, nan, 3}, expected{0, 0, 0};
  EXPECT_TRUE(std::isnan(largest_difference(std::span<const float>(actual), std::span<const float>(expected))));
  EXPECT_FALSE(all_near(expected, expected, kernel_tolerance(actual, expected))) << "a NaN tolerance must not pass";
}

TEST(Compare, ToleranceIsTwiceTheNaiveErrorAndFourUlp) {
  const Floats reference{1, -1.5F}, naive{1, -1.25F};
  EXPECT_DOUBLE_EQ(kernel_tolerance(naive, reference), 0.5 + 4 * 0x1p-23);
  EXPECT_DOUBLE_EQ(kernel_tolerance(Floats{-infinity, 4}, Floats{-infinity, 4}), 4 * 0x1p-21);
}

TEST(Compare, SameBitsTellsZeroFromMinusZero) {
  EXPECT_TRUE(same_bits(Floats{nan, 1}, Floats{nan, 1}));
  EXPECT_FALSE(same_bits(Floats{0.0F}, Floats{-0.0F}));
  EXPECT_FALSE(same_bits(Floats{1}, Floats{std::nextafter(1.0F, 2.0F)}));
}

TEST(Compare, GuardsNoticeAWrite) {
  Guarded<float> memory(3);
  EXPECT_TRUE(memory.intact());
  EXPECT_TRUE(memory.untouched(0, 3));
  memory[1] = 0;
  EXPECT_TRUE(memory.intact());
  EXPECT_FALSE(memory.untouched(0, 3));
  memory.data()[3] = 0;
  EXPECT_FALSE(memory.intact());
  Guarded<float> before(3);
  before.data()[-1] = 0;
  EXPECT_FALSE(before.intact());
}

}  // namespace
}  // namespace headscope::testing
