// Every kernel and vector instruction set that this machine can run, against the double reference.
#include <gtest/gtest.h>

#include "tests/kernels/conformance_cases.h"
#include "tests/kernels/naive_attention.h"
#include "tests/support/compare.h"

namespace headscope::testing {
namespace {

class Conformance : public ::testing::TestWithParam<CaseSpec> {
 protected:
  void expect_reference_agrees_with_naive();
  void expect_forward_matches_reference();
  void expect_workers_do_not_change_a_bit();
  void expect_chunks_add_up_to_the_whole();
  void expect_tiles_match_reference();

  const AttentionCase case_{GetParam()};
  const NaiveAttention naive_ = naive_attention(case_);
  const ThreadPool pool_{3};
  const Results expected_ = run_forward(reference_kernel(), case_, pool_);

  double tolerance(const NamedArray& array) const {
    return kernel_tolerance(naive_.results.*array.array, expected_.*array.array);
  }

  /// Where rounding picks another of two nearly equal keys, their weights must be nearly equal.
  void expect_same_argmax(const Results& actual) {
    const AttentionProblem& p = case_.problem;
    const double tolerance = kernel_tolerance(naive_.results.max, expected_.max);
    for (size_t at = 0; at < actual.argmax.size(); ++at) {
      const int32_t key = actual.argmax[at];
      if (key == expected_.argmax[at]) continue;
      ASSERT_NE(GetParam().scores, Scores::ties)
          << "row " << at << " has key " << key << ", expected the lowest, " << expected_.argmax[at];
      ASSERT_TRUE(key >= 0 && key < p.kv_len) << "row " << at << " has argmax " << key;
      const float weight = naive_.map[at * static_cast<size_t>(p.kv_len) + static_cast<size_t>(key)];
      EXPECT_TRUE(difference(weight, expected_.max[at]) <= tolerance) << "row " << at << " has key " << key;
    }
  }

  std::vector<TileRequest> tile_requests() const {
    const AttentionProblem& p = case_.problem;
    std::vector<TileRequest> requests;
    for (const auto pooling : {Pooling::max, Pooling::mean}) {
      for (const int64_t bin : {1, 3, 16, 100}) {
        TileRequest whole{p.batch - 1, p.q_heads - 1, 0, p.q_len, 0, p.kv_len, bin, pooling};
        TileRequest inside = whole;
        inside.row_begin = p.q_len / 3;
        inside.key_begin = p.kv_len / 4;
        inside.key_end = std::max(inside.key_begin + 1, p.kv_len * 7 / 8);
        requests.push_back(whole);
        requests.push_back(inside);
      }
    }
    return requests;
  }
  const float* head_map(const TileRequest& request) const {
    const AttentionProblem& p = case_.problem;
    return naive_.map.data() + (request.batch * p.q_heads + request.q_head) * p.q_len * p.kv_len;
  }
};

/// The reference and the naive computation were written apart; here they check each other, to f32 precision.
void Conformance::expect_reference_agrees_with_naive() {
  for (const NamedArray& array : result_arrays()) {
    const auto& expected = expected_.*array.array;
    const double rounding = GetParam().scores == Scores::large ? 2e-2 : 1e-4;
    EXPECT_TRUE(all_near(naive_.results.*array.array, expected, rounding * (1 + f32_ulp(expected) * (1 << 23))))
        << array.name;
  }
}

void Conformance::expect_forward_matches_reference() {
  for (const AttentionKernel& kernel : fast_kernels()) {
    SCOPED_TRACE(kernel.name);
    const Results actual = run_forward(kernel, case_, pool_);
    for (const NamedArray& array : result_arrays()) {
      EXPECT_TRUE(all_near(actual.*array.array, expected_.*array.array, tolerance(array))) << array.name;
    }
    expect_same_argmax(actual);
  }
}

void Conformance::expect_workers_do_not_change_a_bit() {
  for (const AttentionKernel& kernel : fast_kernels()) {
    SCOPED_TRACE(kernel.name);
    const Results one = run_forward(kernel, case_, SerialFor());
    const Results three = run_forward(kernel, case_, pool_);
    for (const NamedArray& array : result_arrays()) {
      EXPECT_TRUE(same_bits(one.*array.array, three.*array.array)) << array.name;
    }
    EXPECT_TRUE(same_bits(one.argmax, three.argmax));
  }
}

void Conformance::expect_chunks_add_up_to_the_whole() {
  const int64_t cut = case_.problem.q_len * 2 / 5;
  if (cut == 0) return;
  for (const AttentionKernel& kernel : attention_kernels()) {
    SCOPED_TRACE(kernel.name);
    const Results whole = run_forward(kernel, case_, pool_);
    Results chunks = Results::sized(case_.problem, case_.spec.cells);
    run_forward_rows(kernel, case_, 0, cut, pool_, chunks);
    run_forward_rows(kernel, case_, cut, case_.problem.q_len, pool_, chunks);
    for (const NamedArray& array : result_arrays()) {
      EXPECT_TRUE(same_bits(chunks.*array.array, whole.*array.array)) << array.name;
    }
    EXPECT_TRUE(same_bits(chunks.argmax, whole.argmax));
  }
}

void Conformance::expect_tiles_match_reference() {
  std::vector<Results> own;
  for (const AttentionKernel& kernel : fast_kernels()) own.push_back(run_forward(kernel, case_, pool_));
  const TileRequest places{case_.problem.batch - 1, case_.problem.q_heads - 1, 0, case_.problem.q_len, 0,
                           case_.problem.kv_len};
  const double finest = kernel_tolerance(pool_map(head_map(places), case_.problem.kv_len, places),
                                         run_tile(reference_kernel(), case_.problem, expected_, places, pool_));
  for (const TileRequest& request : tile_requests()) {
    const std::vector<float> expected = run_tile(reference_kernel(), case_.problem, expected_, request, pool_);
    const std::vector<float> naive = pool_map(head_map(request), case_.problem.kv_len, request);
    // Few coarse cells may meet naive weights that are right by luck; a maximum is as wrong as one of its places.
    const double tolerance = std::max(kernel_tolerance(naive, expected), request.pooling == Pooling::max ? finest : 0);
    for (size_t i = 0; i < own.size(); ++i) {
      const AttentionKernel kernel = fast_kernels()[i];
      SCOPED_TRACE(std::string(kernel.name) + " bin " + std::to_string(request.bin));
      EXPECT_TRUE(all_near(run_tile(kernel, case_.problem, own[i], request, pool_), expected, tolerance));
    }
  }
}

// One test a case, since the reference and the naive results serve all five.
TEST_P(Conformance, Holds) {
  expect_reference_agrees_with_naive();
  expect_forward_matches_reference();
  expect_workers_do_not_change_a_bit();
  expect_chunks_add_up_to_the_whole();
  expect_tiles_match_reference();
}

INSTANTIATE_TEST_SUITE_P(Kernels, Conformance, ::testing::ValuesIn(conformance_cases()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace headscope::testing
