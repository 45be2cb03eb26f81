#include "tests/kernels/conformance_check.h"

#include <gtest/gtest.h>

#include "tests/kernels/tolerance.h"
#include "tests/support/compare.h"

namespace headscope::testing {
namespace {

class Conformance {
 public:
  Conformance(const CaseSpec& spec, double slack) : case_(spec), slack_(slack) {}

  void expect_reference_agrees_with_naive();
  void expect_forward_matches_reference();
  void expect_workers_do_not_change_a_bit();
  void expect_chunks_add_up_to_the_whole();
  void expect_tiles_match_reference();

 private:
  const AttentionCase case_;
  const double slack_;
  const std::vector<AttentionKernel> kernels_ = kernels_for(case_.problem);
  const ThreadPool pool_{3};
  const Results expected_ = run_forward(reference_kernel(), case_, pool_);
  const Tolerances tolerance_{case_, expected_};

  /// Whether a kernel rounds weights to bf16 for `out`.
  static bool rounds_weights(const AttentionKernel& kernel, const AttentionProblem& p) {
    const bool bf16 = p.q.element == Element::bf16 && p.k.element == Element::bf16 && p.v.element == Element::bf16;
    return kernel.name == "cpu/AVX512_BF16" || (kernel.device == "cuda" && bf16 && !p.key_rotation.cosines);
  }
  /// How far a kernel may be from the reference.
  double allowed(const AttentionKernel& kernel, const NamedArray& array) const {
    const bool rounded = array.array == &Results::out && rounds_weights(kernel, case_.problem);
    return slack_ * (rounded ? tolerance_.of_bf16_output() : tolerance_.of(array));
  }

  /// Where rounding picks another of two nearly equal keys, their weights must be nearly equal.
  void expect_same_argmax(const Results& actual) {
    const AttentionProblem& p = case_.problem;
    const bool exact = case_.spec.scores == Scores::ties && !p.alibi_slopes && !p.key_log_weight &&
                       !p.key_rotation.cosines &&
                       !(p.soft_cap > 0);  // under a cap, scores that differ may be equal in f32
    for (size_t at = 0; at < actual.argmax.size(); ++at) {
      const int32_t key = actual.argmax[at];
      if (key == expected_.argmax[at]) continue;
      ASSERT_FALSE(exact) << "row " << at << " has key " << key << ", expected the lowest, " << expected_.argmax[at];
      ASSERT_TRUE(key >= 0 && key < p.kv_len) << "row " << at << " has argmax " << key;
      const float weight = tolerance_.naive().map[at * static_cast<size_t>(p.kv_len) + static_cast<size_t>(key)];
      EXPECT_TRUE(difference(weight, expected_.max[at]) <= slack_ * tolerance_.of_weights())
          << "row " << at << " has key " << key;
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
    return tolerance_.naive().map.data() + (request.batch * p.q_heads + request.q_head) * p.q_len * p.kv_len;
  }
};

/// The reference and the naive computation were written apart; here they check each other, to f32 precision.
void Conformance::expect_reference_agrees_with_naive() {
  for (const NamedArray& array : result_arrays()) {
    const auto& expected = expected_.*array.array;
    const double rounding = case_.spec.scores == Scores::large ? 2e-2 : 3e-4;
    EXPECT_TRUE(
        all_near(tolerance_.naive().results.*array.array, expected, rounding * (1 + f32_ulp(expected) * (1 << 23))))
        << array.name;
  }
}

void Conformance::expect_forward_matches_reference() {
  for (const AttentionKernel& kernel : kernels_) {
    SCOPED_TRACE(kernel.name);
    const Results actual = run_forward(kernel, case_, pool_);
    for (const NamedArray& array : result_arrays()) {
      EXPECT_TRUE(all_near(actual.*array.array, expected_.*array.array, allowed(kernel, array))) << array.name;
    }
    expect_same_argmax(actual);
  }
}

void Conformance::expect_workers_do_not_change_a_bit() {
  const FickleTeam team(3);
  for (const AttentionKernel& kernel : kernels_) {
    SCOPED_TRACE(kernel.name);
    const Results one = run_forward(kernel, case_, SerialFor());
    const Results three = run_forward(kernel, case_, team);
    for (const NamedArray& array : result_arrays()) {
      EXPECT_TRUE(same_bits(one.*array.array, three.*array.array)) << array.name;
    }
    EXPECT_TRUE(same_bits(one.argmax, three.argmax));
  }
}

void Conformance::expect_chunks_add_up_to_the_whole() {
  const int64_t cut = case_.problem.q_len * 2 / 5;
  if (cut == 0) return;
  std::vector<AttentionKernel> kernels = kernels_;
  kernels.push_back(reference_kernel());
  for (const AttentionKernel& kernel : kernels) {
    SCOPED_TRACE(kernel.name);
    const Results whole = run_forward(kernel, case_, pool_);
    Results chunks = Results::sized(case_.problem, case_.spec.cells);
    run_forward_rows(kernel, case_, 0, cut, pool_, chunks);
    run_forward_rows(kernel, case_, cut, case_.problem.q_len, pool_, chunks);
    // Of CUDA, another kernel may run the chunks: it takes few rows.
    const bool same = kernel.device != "cuda";
    for (const NamedArray& array : result_arrays()) {
      const auto &part = chunks.*array.array, &all = whole.*array.array;
      EXPECT_TRUE(same ? same_bits(part, all) : all_near(part, expected_.*array.array, allowed(kernel, array)))
          << array.name;
    }
    if (same) {
      EXPECT_TRUE(same_bits(chunks.argmax, whole.argmax));
    } else {
      expect_same_argmax(chunks);
    }
  }
}

void Conformance::expect_tiles_match_reference() {
  std::vector<Results> own;
  for (const AttentionKernel& kernel : kernels_) own.push_back(run_forward(kernel, case_, pool_));
  for (const TileRequest& request : tile_requests()) {
    const std::vector<float> expected = run_tile(reference_kernel(), case_.problem, expected_, request, pool_);
    const std::vector<float> naive = pool_map(head_map(request), case_.problem.kv_len, request);
    const double tolerance = std::max(kernel_tolerance(naive, expected), tolerance_.of_weights());
    for (size_t i = 0; i < own.size(); ++i) {
      const AttentionKernel& kernel = kernels_[i];
      SCOPED_TRACE(std::string(kernel.name) + " bin " + std::to_string(request.bin));
      EXPECT_TRUE(all_near(run_tile(kernel, case_.problem, own[i], request, pool_), expected, slack_ * tolerance));
    }
  }
}

}  // namespace

void expect_conformance(const CaseSpec& spec, double slack) {
  // The reference and the naive results serve all five.
  Conformance conformance(spec, slack);
  conformance.expect_reference_agrees_with_naive();
  conformance.expect_forward_matches_reference();
  conformance.expect_workers_do_not_change_a_bit();
  conformance.expect_chunks_add_up_to_the_whole();
  conformance.expect_tiles_match_reference();
}

}  // namespace headscope::testing
