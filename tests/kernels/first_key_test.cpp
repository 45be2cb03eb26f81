// Keys and values whose first rows are gone, as a cache of a sliding window has them, for every kernel.
#include <gtest/gtest.h>

#include "tests/kernels/attention_case.h"
#include "tests/kernels/kernel_test_name.h"
#include "tests/support/compare.h"

namespace headscope::testing {
namespace {

CaseSpec spec_of(int64_t q_len, int64_t kv_len, int64_t window) {
  CaseSpec spec = grouped_spec(q_len, kv_len);
  spec.window = window;
  spec.key_dim = 24;
  spec.value_dim = 40;
  spec.alibi = true;
  spec.memory = Memory::interleaved;
  return spec;
}

/// The same problem without the keys and values before `first`: the others are copied to memory of their own, which
/// starts with them. `full` must outlive it.
struct WithoutFirst {
  WithoutFirst(const AttentionCase& full, int64_t first)
      : cut(full),
        keys(rows(full.problem, full.problem.k, full.problem.key_dim, first)),
        values(rows(full.problem, full.problem.v, full.problem.value_dim, first)) {
    const int64_t left = full.problem.kv_len - first;
    cut.problem.first_key = first;
    cut.problem.k = view(keys, left, full.problem.key_dim, full.problem.kv_heads);
    cut.problem.v = view(values, left, full.problem.value_dim, full.problem.kv_heads);
  }

  AttentionCase cut;
  std::vector<float> keys, values;

 private:
  static std::vector<float> rows(const AttentionProblem& p, const InputRows& from, int64_t dim, int64_t first) {
    std::vector<float> out;
    for (int64_t row = first; row < p.kv_len; ++row) {
      for (int64_t head = 0; head < p.kv_heads; ++head) {
        const float* at = from.row(0, head, row);
        out.insert(out.end(), at, at + dim);
      }
    }
    return out;
  }
  static InputRows view(const std::vector<float>& rows, int64_t left, int64_t dim, int64_t heads) {
    return {rows.data(), left * heads * dim, dim, heads * dim};
  }
};

class FirstKey : public ::testing::TestWithParam<AttentionKernel> {
 protected:
  Results run(const AttentionCase& c) const { return run_forward(GetParam(), c, ThreadPool(2)); }
};

TEST_P(FirstKey, KeysThatNoRowSeesMayBeGone) {
  struct {
    int64_t q_len, kv_len, window;
  } sizes[] = {{1, 700, 300}, {1, 257, 1}, {50, 600, 100}, {200, 900, 513}};
  for (const auto& size : sizes) {
    const AttentionCase full(spec_of(size.q_len, size.kv_len, size.window));
    const int64_t first = size.kv_len - size.q_len + 1 - size.window;  // the first that row 0 sees
    const WithoutFirst gone(full, first);
    const Results expected = run(full), actual = run(gone.cut);
    for (const NamedArray& array : result_arrays()) {
      EXPECT_TRUE(same_bits(actual.*array.array, expected.*array.array)) << array.name << ", window " << size.window;
    }
    EXPECT_EQ(actual.argmax, expected.argmax);
    for (const int64_t bin : {1, 9}) {
      const TileRequest request{0, 3, 0, size.q_len, first, size.kv_len, bin, Pooling::mean};
      EXPECT_TRUE(same_bits(run_tile(GetParam(), gone.cut.problem, expected, request, ThreadPool(2)),
                            run_tile(GetParam(), full.problem, expected, request, ThreadPool(2))));
    }
  }
}

TEST_P(FirstKey, IsTheFirstThatIsSeenWhateverTheWindow) {
  AttentionCase hidden(spec_of(20, 330, 0));
  hidden.log_weight.assign(4 * 330, 0.0F);
  for (int64_t head = 0; head < 4; ++head) {
    std::fill_n(hidden.log_weight.begin() + head * 330, 131, -std::numeric_limits<float>::infinity());
  }
  hidden.problem.key_log_weight = hidden.log_weight.data();
  const AttentionCase full(spec_of(20, 330, 0));
  const WithoutFirst gone(full, 131);
  const Results expected = run(hidden), actual = run(gone.cut);
  for (const NamedArray& array : result_arrays()) {
    const auto &a = actual.*array.array, &e = expected.*array.array;
    ASSERT_EQ(a.size(), e.size());
    for (size_t i = 0; i < a.size(); ++i) {
      ASSERT_LE(std::abs(a[i] - e[i]), 2e-6F * std::max(1.0F, std::abs(e[i]))) << array.name << " " << i;
    }
  }
  EXPECT_EQ(actual.argmax, expected.argmax);
}

TEST_P(FirstKey, KeysAreRotatedByTheirOwnPositions) {
  CaseSpec spec = spec_of(30, 400, 60);
  spec.rotation = {RotationStyle::rotate_half, 16};
  const AttentionCase full(spec);
  const WithoutFirst gone(full, 400 - 30 + 1 - 60);
  const Results expected = run(full), actual = run(gone.cut);
  EXPECT_TRUE(same_bits(actual.out, expected.out));
  EXPECT_TRUE(same_bits(actual.log_sum, expected.log_sum));
}

TEST_P(FirstKey, TilesMayBeginBeforeIt) {
  const AttentionCase full(spec_of(50, 600, 100));
  const WithoutFirst gone(full, 451);
  const Results forward = run(full);
  const TileRequest request{0, 1, 0, 50, 300, 600, 7, Pooling::max};
  EXPECT_TRUE(same_bits(run_tile(GetParam(), gone.cut.problem, forward, request, ThreadPool(2)),
                        run_tile(GetParam(), full.problem, forward, request, ThreadPool(2))));
}

INSTANTIATE_TEST_SUITE_P(Kernels, FirstKey, ::testing::ValuesIn(f32_kernels()), kernel_test_name<AttentionKernel>);

}  // namespace
}  // namespace headscope::testing
