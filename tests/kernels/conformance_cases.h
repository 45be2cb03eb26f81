#pragma once

#include <vector>

#include "tests/kernels/attention_case.h"

namespace headscope::testing {

/// The shapes and options every kernel is tested on: each value of each axis occurs with several of the others.
std::vector<CaseSpec> conformance_cases();

}  // namespace headscope::testing
