// Queries, keys and values in bf16: widened by the kernels that every machine can run, multiplied in pairs by the one
// for AVX512_BF16. tests/kernels/covering_cases.cpp has bf16 as an axis; here is what the axes do not say.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "tests/kernels/attention_case.h"
#include "tests/kernels/divergence_case.h"
#include "tests/kernels/kernel_test_name.h"
#include "tests/kernels/map_case.h"
#include "tests/support/compare.h"

namespace headscope::testing {
namespace {

constexpr float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();

CaseSpec bf16_spec() {
  CaseSpec spec;
  spec.element = Element::bf16;
  spec.memory = Memory::interleaved;
  spec.q_heads = 4;
  spec.kv_heads = 2;
  spec.q_len = 61;
  spec.kv_len = 301;
  spec.offset = 240;
  spec.window = 77;  // begins and ends at odd keys and at even ones
  spec.key_dim = 23;
  spec.value_dim = 17;
  spec.bin = 5;
  return spec;
}

const AttentionKernel* pair_kernel() {
  for (const AttentionKernel& kernel : attention_kernels()) {
    if (kernel.name == "cpu/AVX512_BF16") return &kernel;
  }
  return nullptr;
}

TEST(Bf16, RoundsToTheNearestAndTiesToEven) {
  EXPECT_EQ(from_bf16(0x3F80), 1);
  EXPECT_EQ(to_bf16(1), 0x3F80);
  EXPECT_EQ(to_bf16(1 + 0x1p-9F), 0x3F80) << "above the middle of 1 and 1 + 2^-7 only from 2^-8 on";
  EXPECT_EQ(to_bf16(1 + 0x1p-8F), 0x3F80) << "a tie: 1 is the even one";
  EXPECT_EQ(to_bf16(1 + 0x1p-8F + 0x1p-20F), 0x3F81);
  EXPECT_EQ(to_bf16(1 + 3 * 0x1p-8F), 0x3F82) << "a tie: the even one is above";
  EXPECT_EQ(to_bf16(-1 - 0x1p-8F - 0x1p-20F), 0xBF81);
  EXPECT_EQ(from_bf16(to_bf16(std::numeric_limits<float>::max())), infinity);
  EXPECT_EQ(from_bf16(to_bf16(-infinity)), -infinity);
  EXPECT_TRUE(std::isnan(from_bf16(to_bf16(nan))));
  EXPECT_TRUE(std::isnan(from_bf16(to_bf16(std::bit_cast<float>(0x7FFFFFFFU))))) << "rounding must not carry";
}

class Widened : public ::testing::TestWithParam<AttentionKernel> {
 protected:
  const ThreadPool pool_{2};
  const AttentionCase bf16_{bf16_spec()};
  const Results forward_ = run_forward(GetParam(), bf16_, pool_);
};

TEST_P(Widened, ForwardHasTheBitsOfF32) {
  AttentionCase f32 = bf16_;
  f32.problem = bf16_.in_f32();
  const Results expected = run_forward(GetParam(), f32, pool_);
  for (const NamedArray& array : result_arrays()) {
    EXPECT_TRUE(same_bits(forward_.*array.array, expected.*array.array)) << array.name;
  }
  EXPECT_TRUE(same_bits(forward_.argmax, expected.argmax));
}

TEST_P(Widened, TilesMapsAndDivergencesHaveTheBitsOfF32) {
  const AttentionProblem& f32 = bf16_.in_f32();
  const TileRequest request{0, 3, 2, 60, 200, 290, 3, Pooling::mean};
  EXPECT_TRUE(same_bits(run_tile(GetParam(), bf16_.problem, forward_, request, pool_),
                        run_tile(GetParam(), f32, forward_, request, pool_)));
  const MapSpec maps;
  const MapResults actual_maps = run_map_statistics(GetParam(), bf16_.problem, forward_, maps, pool_);
  const MapResults expected_maps = run_map_statistics(GetParam(), f32, forward_, maps, pool_);
  for (const NamedMapArray& array : map_arrays()) {
    EXPECT_TRUE(same_bits(actual_maps.*array.array, expected_maps.*array.array)) << array.name;
  }
  for (const auto estimator :
       {DivergenceEstimator::exact, DivergenceEstimator::hellinger, DivergenceEstimator::sampled}) {
    const DivergenceRequest divergences = divergence_request(f32, estimator);
    const Divergences actual = run_divergence(GetParam(), bf16_.problem, forward_, divergences, pool_);
    const Divergences expected = run_divergence(GetParam(), f32, forward_, divergences, pool_);
    EXPECT_TRUE(same_bits(actual.value, expected.value) && same_bits(actual.upper, expected.upper));
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, Widened, ::testing::ValuesIn(f32_kernels()), kernel_test_name<AttentionKernel>);

class Pairs : public ::testing::Test {
 protected:
  void SetUp() override {
    if (pair_kernel() == nullptr) GTEST_SKIP() << "this processor has no AVX512_BF16";
  }
  Results run(const AttentionCase& c) const { return run_forward(*pair_kernel(), c, ThreadPool(2)); }
};

TEST_F(Pairs, WantAllThreeInBf16) {
  const AttentionCase c{bf16_spec()};
  EXPECT_FALSE(pair_kernel()->unsupported(c.problem));
  EXPECT_EQ(select_attention_kernel(c.problem).name, pair_kernel()->name);
  for (InputRows AttentionProblem::*rows : {&AttentionProblem::q, &AttentionProblem::k, &AttentionProblem::v}) {
    AttentionProblem mixed = c.problem;
    mixed.*rows = c.in_f32().*rows;
    EXPECT_TRUE(pair_kernel()->unsupported(mixed));
    EXPECT_EQ(select_attention_kernel(mixed).name, f32_kernels().back().name);
  }
}

/// Statistics come from weights before they are rounded.
TEST_F(Pairs, OnlyTheOutputIsRounded) {
  const AttentionCase c{bf16_spec()};
  const Results actual = run(c), expected = run_forward(reference_kernel(), c, SerialFor());
  for (const NamedArray& array : result_arrays()) {
    const double off =
        largest_difference(std::span<const float>(actual.*array.array), std::span<const float>(expected.*array.array));
    const double unit = f32_ulp(expected.*array.array);
    EXPECT_LE(off, (array.array == &Results::out ? 32768 : 64) * unit) << array.name;
  }
}

TEST_F(Pairs, TilesAreSlicesOfTilesAndMaximaOfMaxima) {
  const AttentionCase c{bf16_spec()};
  const Results forward = run(c);
  const TileRequest map{0, 1, 0, 61, 0, 301, 1, Pooling::max}, part{0, 1, 7, 40, 201, 260, 1, Pooling::max};
  const std::vector<float> whole = run_tile(*pair_kernel(), c.problem, forward, map, SerialFor());
  const std::vector<float> slice = run_tile(*pair_kernel(), c.problem, forward, part, SerialFor());
  TileRequest coarse = map;
  coarse.bin = 4;
  const std::vector<float> pooled = run_tile(*pair_kernel(), c.problem, forward, coarse, SerialFor());
  for (int64_t row = 0; row < 61; ++row) {
    double sum = 0;
    float largest = 0;
    for (int64_t key = 0; key < 301; ++key) {
      const float weight = whole[static_cast<size_t>(row * 301 + key)];
      sum += double{weight};
      if (row >= 7 && row < 40 && key >= 201 && key < 260) {
        EXPECT_EQ(slice[static_cast<size_t>((row - 7) * 59 + key - 201)], weight);
      }
      EXPECT_GE(pooled[static_cast<size_t>(row / 4 * 76 + key / 4)], weight);
      largest = std::max(largest, weight);
    }
    EXPECT_NEAR(sum, 1, 1e-5);
    EXPECT_NEAR(largest, forward.max[static_cast<size_t>(61 + row)], 1e-6);
  }
}

/// What a value holds reaches the rows that see its key, not the key beside it in a pair, and no other.
TEST_F(Pairs, ValuesThatAreNotFiniteReachTheRowsThatSeeThem) {
  for (const int64_t key : {270, 271}) {
    for (const float bad : {nan, infinity}) {
      AttentionCase c{bf16_spec()};
      const Results clean = run(c);
      auto* value = const_cast<uint16_t*>(c.problem.v.row<uint16_t>(0, 1, key));
      value[3] = to_bf16(bad);
      const Results dirty = run(c);
      for (int64_t head = 0; head < 4; ++head) {
        for (int64_t row = 0; row < 61; ++row) {
          const int64_t position = row + 240;
          const bool sees = head >= 2 && key <= position && key > position - 77;
          for (int64_t d = 0; d < 17; ++d) {
            const auto at = static_cast<size_t>((head * 61 + row) * 17 + d);
            if (sees && d == 3) {
              EXPECT_FALSE(std::isfinite(dirty.out[at])) << head << ' ' << row;
            } else if (!sees) {
              EXPECT_EQ(dirty.out[at], clean.out[at]) << head << ' ' << row << ' ' << d;
            }
          }
        }
      }
    }
  }
}

TEST_F(Pairs, DivergencesAreInsideTheirBounds) {
  CaseSpec spec = bf16_spec();
  spec.window = 0;
  const AttentionCase c{spec};
  const Results forward = run(c), expected_forward = run_forward(reference_kernel(), c, SerialFor());
  const DivergenceRequest exact = divergence_request(c.problem, DivergenceEstimator::exact);
  const Divergences expected = run_divergence(reference_kernel(), c.problem, expected_forward, exact, SerialFor());
  for (const auto estimator :
       {DivergenceEstimator::exact, DivergenceEstimator::hellinger, DivergenceEstimator::sampled}) {
    const Divergences actual =
        run_divergence(*pair_kernel(), c.problem, forward, divergence_request(c.problem, estimator), SerialFor());
    for (size_t i = 0; i < actual.value.size(); ++i) {
      EXPECT_LE(actual.lower[i], expected.value[i] * (1 + 1e-6));
      EXPECT_GE(actual.upper[i], expected.value[i] * (1 - 1e-6));
    }
  }
}

}  // namespace
}  // namespace headscope::testing
