// Every kernel and vector instruction set that this machine can run, against the double reference.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "tests/kernels/conformance_cases.h"
#include "tests/kernels/conformance_check.h"

namespace headscope::testing {
namespace {

/// Cases made by hand, for what the axes below do not say.
class Conformance : public ::testing::TestWithParam<CaseSpec> {};

TEST_P(Conformance, Holds) { expect_conformance(GetParam()); }

INSTANTIATE_TEST_SUITE_P(Kernels, Conformance, ::testing::ValuesIn(conformance_cases()),
                         [](const auto& test) { return test.param.name; });

constexpr size_t parts = 6;  // that may run side by side

/// Stops at the first case that fails: its message says which.
void expect_conformance_of(const std::vector<CaseSpec>& cases, size_t first, double slack) {
  for (size_t i = first; i < cases.size(); i += parts) {
    SCOPED_TRACE(cases[i].name);
    expect_conformance(cases[i], slack * slack_of(cases[i]));
    if (::testing::Test::HasFailure()) return;
  }
}

class Covering : public ::testing::TestWithParam<size_t> {};

TEST_P(Covering, EveryPairOfValuesHolds) { expect_conformance_of(covering_cases(), GetParam(), 1); }

TEST_P(Covering, TheProductOfShapesHolds) {
  if (std::getenv("HEADSCOPE_FULL") == nullptr) GTEST_SKIP() << "long; ./test.sh --full runs it";
  expect_conformance_of(product_cases(), GetParam(), 4);
}

INSTANTIATE_TEST_SUITE_P(Kernels, Covering, ::testing::Range(size_t{0}, parts));

}  // namespace
}  // namespace headscope::testing
