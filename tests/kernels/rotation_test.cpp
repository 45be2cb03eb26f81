// Keys that are rotated while they are read are the same as keys rotated beforehand, in every operation of every
// kernel.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/kernels/divergence_case.h"
#include "tests/kernels/kernel_test_name.h"
#include "tests/kernels/map_case.h"
#include "tests/kernels/rotated_keys.h"
#include "tests/support/compare.h"

namespace headscope::testing {
namespace {

CaseSpec spec_of(int64_t q_len, int64_t kv_len, const RotationSpec& rotation) {
  CaseSpec spec = grouped_spec(q_len, kv_len);
  spec.key_dim = spec.value_dim = 20;
  spec.rotation = rotation;
  return spec;
}

/// Lengths on all sides of tiles, blocks and splits; windows, unaligned rows, several sequences.
std::vector<CaseSpec> specs() {
  const RotationSpec halves{RotationStyle::rotate_half, 20}, neighbours{RotationStyle::interleaved, 20};
  const RotationSpec part{RotationStyle::rotate_half, 12, 5, 1e4, 1.3}, few{RotationStyle::interleaved, 2, 18};
  std::vector<CaseSpec> specs = {spec_of(40, 40, halves), spec_of(1, 257, neighbours), spec_of(33, 300, part),
                                 spec_of(3, 2100, few), spec_of(300, 511, halves)};
  specs[2].window = 70;
  specs[2].memory = specs[3].memory = Memory::interleaved;
  specs[2].batch = 2;
  specs[4].alibi = true;
  return specs;
}

class Rotation : public ::testing::TestWithParam<AttentionKernel> {
 protected:
  const ThreadPool pool_{2};

  Results run(const AttentionCase& c) const { return run_forward(GetParam(), c, pool_); }

  /// As the kernel rounds them.
  std::vector<float> keys_of(const AttentionProblem& p) const {
    return GetParam().name == "reference" ? rotated_keys<double>(p) : rotated_keys<float>(p);
  }

  void expect_same(const AttentionCase& read, const AttentionCase& stored) const {
    const Results expected = run(stored), actual = run(read);
    for (const NamedArray& array : result_arrays()) {
      EXPECT_TRUE(same_bits(actual.*array.array, expected.*array.array)) << array.name;
    }
    EXPECT_EQ(actual.argmax, expected.argmax);
    expect_same_maps(read.problem, stored.problem, expected);
    expect_same_divergences(read.problem, stored.problem, expected);
  }

  void expect_same_maps(const AttentionProblem& read, const AttentionProblem& stored, const Results& forward) const {
    const int64_t rows = read.q_len, keys = read.kv_len;
    for (const int64_t bin : {1, 7, 300}) {
      const TileRequest request{read.batch - 1, 3, rows / 3, rows, keys / 5, keys, bin, Pooling::mean};
      EXPECT_TRUE(same_bits(run_tile(GetParam(), read, forward, request, pool_),
                            run_tile(GetParam(), stored, forward, request, pool_)));
      const MapSpec spec{4, bin};
      const MapResults actual = run_map_statistics(GetParam(), read, forward, spec, pool_);
      const MapResults expected = run_map_statistics(GetParam(), stored, forward, spec, pool_);
      for (const NamedMapArray& array : map_arrays()) {
        EXPECT_TRUE(same_bits(actual.*array.array, expected.*array.array)) << array.name << ", bin " << bin;
      }
    }
  }

  /// Bounds that allow for the rounding of the rotation, too, are no closer.
  void expect_same_divergences(const AttentionProblem& read, const AttentionProblem& stored,
                               const Results& forward) const {
    for (const auto estimator :
         {DivergenceEstimator::exact, DivergenceEstimator::hellinger, DivergenceEstimator::sampled}) {
      DivergenceRequest request = divergence_request(read, estimator);
      request.samples = 50;
      const Divergences actual = run_divergence(GetParam(), read, forward, request, pool_);
      const Divergences expected = run_divergence(GetParam(), stored, forward, request, pool_);
      EXPECT_TRUE(same_bits(actual.value, expected.value));
      EXPECT_TRUE(all_near(actual.lower, expected.lower, 1e-4));
      EXPECT_TRUE(all_near(actual.upper, expected.upper, 1e-4));
      for (size_t i = 0; i < actual.value.size(); ++i) {
        EXPECT_TRUE(actual.lower[i] <= expected.lower[i] && actual.upper[i] >= expected.upper[i]) << i;
      }
    }
  }
};

TEST_P(Rotation, WhileReadingEqualsBeforehand) {
  for (const CaseSpec& spec : specs()) {
    SCOPED_TRACE("q_len " + std::to_string(spec.q_len) + ", kv_len " + std::to_string(spec.kv_len));
    const AttentionCase read(spec);
    AttentionCase stored = read;
    const std::vector<float> keys = keys_of(read.problem);
    stored.problem = with_keys(read.problem, keys);
    expect_same(read, stored);
  }
}

TEST_P(Rotation, FirstKeysMayBeGone) {
  CaseSpec spec = spec_of(33, 500, {RotationStyle::interleaved, 20});
  spec.window = 90;
  AttentionCase read(spec);
  AttentionProblem& p = read.problem;
  p.first_key = 500 - 33 + 1 - 90;
  p.k = p.k.from(p.first_key);
  p.v = p.v.from(p.first_key);
  AttentionCase stored = read;
  const std::vector<float> keys = keys_of(p);
  stored.problem = with_keys(p, keys);
  expect_same(read, stored);
}

/// SharedKV: one set of rows serves as keys and, as it lies there, as values.
TEST_P(Rotation, RowsMayBeKeysAndValues) {
  CaseSpec spec = spec_of(50, 300, {RotationStyle::rotate_half, 20});
  AttentionCase read(spec);
  read.problem.k = read.problem.v;
  AttentionCase stored = read;
  const std::vector<float> keys = keys_of(read.problem);
  stored.problem = with_keys(read.problem, keys);
  expect_same(read, stored);
}

TEST_P(Rotation, TurnsByThePositionCounterclockwise) {
  CaseSpec spec;
  spec.q_len = spec.kv_len = spec.key_dim = spec.value_dim = 2;
  spec.rotation = {RotationStyle::rotate_half, 2};
  AttentionCase c(spec);
  c.k = {1, 0, 1, 0};
  c.q = {0, 0, 0, 1};  // the second row reads the second coordinate: sin(1) at key 1, 0 at key 0
  c.problem.scale = 1;
  EXPECT_TRUE(difference(run(c).row_max[1], std::sin(1.0)) <= 1e-7);
}

TEST_P(Rotation, BothStylesMatchKeysRotatedByHand) {
  for (const RotationStyle style : {RotationStyle::rotate_half, RotationStyle::interleaved}) {
    CaseSpec spec;
    spec.q_heads = 4;
    spec.kv_heads = 2;
    spec.q_len = spec.kv_len = 20;
    spec.key_dim = spec.value_dim = 6;
    AttentionCase stored(spec);
    spec.rotation = {style, 4};  // theta = 1 and 1/10; dimensions 4 and 5 are copied
    const AttentionCase read(spec);
    for (int64_t h = 0; h < 2; ++h) {
      for (int64_t j = 0; j < 20; ++j) {
        const std::vector<float> from(stored.key(0, h, j), stored.key(0, h, j) + 6);
        float* k = stored.key(0, h, j);
        for (size_t pair = 0; pair < 2; ++pair) {
          const double angle = static_cast<double>(j) * (pair == 0 ? 1 : 0.1);
          const size_t a = style == RotationStyle::interleaved ? pair * 2 : pair;
          const size_t b = style == RotationStyle::interleaved ? pair * 2 + 1 : pair + 2;
          k[a] = static_cast<float>(double{from[a]} * std::cos(angle) - double{from[b]} * std::sin(angle));
          k[b] = static_cast<float>(double{from[a]} * std::sin(angle) + double{from[b]} * std::cos(angle));
        }
      }
    }
    const Results expected = run(stored), actual = run(read);
    for (const NamedArray& array : result_arrays()) {
      EXPECT_TRUE(all_near(actual.*array.array, expected.*array.array, 1e-5)) << array.name;
    }
    const TileRequest map{0, 3, 0, 20, 0, 20, 1, Pooling::max};
    EXPECT_TRUE(all_near(run_tile(GetParam(), read.problem, actual, map, pool_),
                         run_tile(GetParam(), stored.problem, expected, map, pool_), 1e-6));
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, Rotation, ::testing::ValuesIn(f32_kernels()), kernel_test_name<AttentionKernel>);

}  // namespace
}  // namespace headscope::testing
