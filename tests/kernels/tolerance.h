#pragma once

#include "tests/kernels/naive_attention.h"

namespace headscope::testing {

/// How far the results of a kernel may lie from what is exact: twice as far as a naive computation in f32 does, and
/// four spacings of the largest value (tests/support/compare.h). `expected` is exact and outlives it.
class Tolerances {
 public:
  Tolerances(const AttentionCase&, const Results& expected);

  double of(const NamedArray&) const;
  /// Of `out`, where weights are rounded to bf16.
  double of_bf16_output() const;
  /// Of a weight, or some weights of one row.
  double of_weights() const;

  const NaiveAttention& naive() const { return naive_; }

 private:
  const AttentionCase& case_;
  const Results& expected_;
  const NaiveAttention naive_, backward_;  ///< that sum in opposite orders: one of them may be right by luck
};

}  // namespace headscope::testing
