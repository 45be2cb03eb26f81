#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace headscope::testing {

/// What a test of one kernel is called: "cpu_AVX3".
template <class Kernel>
std::string kernel_test_name(const ::testing::TestParamInfo<Kernel>& test) {
  std::string name(test.param.name);
  std::replace(name.begin(), name.end(), '/', '_');
  return name;
}

}  // namespace headscope::testing
