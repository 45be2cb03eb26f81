#pragma once

#include "tests/kernels/attention_case.h"

namespace headscope::testing {

/// Fails the test unless, on this case, every kernel agrees with the double reference and a naive f32 computation
/// within the tolerance of tests/support/compare.h, in the forward pass and in tiles of several zooms; gives the same
/// bits for one worker and for three, and for the rows cut into two calls; and writes beside nothing. `slack`
/// multiplies the tolerance: among thousands of cases some are less lucky than twice what naive rounding does.
void expect_conformance(const CaseSpec&, double slack = 1);

}  // namespace headscope::testing
