#pragma once

#include "tests/kernels/attention_case.h"

namespace headscope::testing {

/// What a map statistics test asks for.
struct MapSpec {
  int64_t cells = 8, bin = 1;
  int64_t buckets = 18;
};

/// All that map_statistics writes; the grids are decoded from f16.
struct MapResults {
  std::vector<float> mass, mean, max, histogram;
};

struct NamedMapArray {
  const char* name;
  std::vector<float> MapResults::*array;
};
const std::vector<NamedMapArray>& map_arrays();

/// Runs a kernel into guarded memory and fails the test if it writes beside its outputs or its workspace, or leaves a
/// part of them unwritten.
MapResults run_map_statistics(const AttentionKernel& kernel, const AttentionProblem& p, const Results& forward,
                              const MapSpec& spec, const ParallelFor& parallel);

/// The same from dense maps [batch, q_heads, q_len, kv_len], added up in T and not rounded to f16: how far rounding in
/// T alone takes the results.
template <class T>
MapResults pool_dense_maps(const std::vector<float>& maps, const AttentionProblem& p, const MapSpec& spec);

/// The number that f16 bits stand for.
float from_half(uint16_t bits);

/// Half the distance of f16 numbers at `value`: what rounding to f16 may change.
double half_rounding(double value);

}  // namespace headscope::testing
