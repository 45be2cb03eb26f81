#pragma once

#include <vector>

#include "tests/kernels/attention_case.h"

namespace headscope::testing {

/// The shapes and options every kernel is tested on: each value of each axis occurs with several of the others.
std::vector<CaseSpec> conformance_cases();

/// Cases in which every value of an axis (lengths, heads, dimensions, memory, masks, scores, ...) meets every value of
/// every other one at least once.
std::vector<CaseSpec> covering_cases();

/// The same for operations that take many times as long: on CUDA's emulator every fourth of them, unless all is asked for
/// (HEADSCOPE_FULL).
std::vector<CaseSpec> covering_cases_in_time();

/// All combinations of lengths, groups and key sizes; the other axes take turns.
std::vector<CaseSpec> product_cases();

/// What multiplies the tolerance of a case: with scores of 1e4 a row or two decide how far rounding goes, and those of
/// two naive computations may both be lucky (seen: kernels 3.4 times as far off as these). Kernels count ALiBi from the
/// query, so where all keys lie far from it, its part is large, and so is what rounding takes of it; the naive ones
/// count from key 0.
inline double slack_of(const CaseSpec& spec) {
  if (spec.alibi && (spec.offset < -64 || spec.offset + spec.q_len > spec.kv_len + 64)) return 4;
  return spec.scores == Scores::large ? 2 : 1;
}

}  // namespace headscope::testing
