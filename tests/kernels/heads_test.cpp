// What changes nothing but the order of heads, and heads that share keys and values beside those with copies of them,
// for every kernel: to the bit, because a head's results depend on nothing beside it.
#include <gtest/gtest.h>

#include "tests/kernels/attention_case.h"
#include "tests/kernels/kernel_test_name.h"
#include "tests/support/compare.h"

namespace headscope::testing {
namespace {

class Heads : public ::testing::TestWithParam<AttentionKernel> {
 protected:
  const AttentionKernel& kernel_ = GetParam();
  const ThreadPool pool_{2};
};

/// Head i of the copy is head order[i] of `from`, [heads, size].
std::vector<float> taken(const std::vector<float>& from, const std::vector<int64_t>& order, size_t heads) {
  const size_t size = from.size() / heads;
  std::vector<float> out;
  for (const int64_t head : order) {
    const auto begin = from.begin() + head * static_cast<int64_t>(size);
    out.insert(out.end(), begin, begin + static_cast<int64_t>(size));
  }
  return out;
}

/// A packed case with other heads: numbers of its own, the rest of the problem as it was.
struct Rearranged {
  Rearranged(const AttentionCase& from, const std::vector<int64_t>& queries, const std::vector<int64_t>& keys)
      : c(from) {
    const auto q_heads = static_cast<size_t>(from.problem.q_heads),
               kv_heads = static_cast<size_t>(from.problem.kv_heads);
    c.q = taken(from.q, queries, q_heads);
    c.k = taken(from.k, keys, kv_heads);
    c.v = taken(from.v, keys, kv_heads);
    c.slopes = taken(from.slopes, queries, q_heads);
    c.log_weight = taken(from.log_weight, queries, q_heads);
    AttentionProblem& p = c.problem;
    p.kv_heads = static_cast<int64_t>(keys.size());
    p.q.data = c.q.data(), p.k.data = c.k.data(), p.v.data = c.v.data();
    p.alibi_slopes = c.slopes.data(), p.key_log_weight = c.log_weight.data();
  }
  Rearranged(const Rearranged&) = delete;
  Rearranged& operator=(const Rearranged&) = delete;

  AttentionCase c;
};

/// Forward and tiles of head i are those of head order[i] of another case.
void expect_heads(const AttentionKernel& kernel, const AttentionCase& actual, const AttentionCase& expected,
                  const std::vector<int64_t>& order, const ParallelFor& parallel) {
  const Results a = run_forward(kernel, actual, parallel), e = run_forward(kernel, expected, parallel);
  const auto heads = static_cast<size_t>(expected.problem.q_heads);
  for (const NamedArray& array : result_arrays()) {
    EXPECT_TRUE(same_bits(a.*array.array, taken(e.*array.array, order, heads))) << array.name;
  }
  const std::vector<float> a_keys(a.argmax.begin(), a.argmax.end()), e_keys(e.argmax.begin(), e.argmax.end());
  EXPECT_TRUE(same_bits(a_keys, taken(e_keys, order, heads)));
  for (const int64_t bin : {1, 7}) {
    for (size_t head = 0; head < heads; ++head) {
      TileRequest mine{0, static_cast<int64_t>(head), 0, actual.spec.q_len, 0, actual.spec.kv_len, bin, Pooling::mean};
      TileRequest other = mine;
      other.q_head = order[head];
      EXPECT_TRUE(same_bits(run_tile(kernel, actual.problem, a, mine, parallel),
                            run_tile(kernel, expected.problem, e, other, parallel)))
          << "head " << head << ", bin " << bin;
    }
  }
}

/// Few rows, as in decoding, and many; every head has a slope and log weights of its own.
std::vector<CaseSpec> specs(int64_t kv_heads) {
  std::vector<CaseSpec> out;
  for (const int64_t rows : {1, 3, 70}) {
    CaseSpec spec = grouped_spec(rows, 150);
    spec.kv_heads = kv_heads;
    spec.key_dim = spec.value_dim = 24;
    spec.alibi = true;
    spec.log_weights = LogWeights::finite;
    out.push_back(spec);
  }
  return out;
}

TEST_P(Heads, PermutedGiveResultsPermuted) {
  for (const CaseSpec& spec : specs(2)) {
    SCOPED_TRACE(spec.q_len);
    const AttentionCase c(spec);
    const std::vector<int64_t> order{3, 2, 0, 1};  // inside their groups and the groups themselves
    expect_heads(kernel_, Rearranged(c, order, {1, 0}).c, c, order, pool_);
  }
}

TEST_P(Heads, ThatShareKeysEqualThoseWithCopiesOfThem) {
  for (const CaseSpec& spec : specs(1)) {
    SCOPED_TRACE(spec.q_len);
    const AttentionCase multi_query(spec);
    const std::vector<int64_t> order{0, 1, 2, 3};
    expect_heads(kernel_, Rearranged(multi_query, order, {0, 0, 0, 0}).c, multi_query, order, pool_);
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, Heads, ::testing::ValuesIn(f32_kernels()), kernel_test_name<AttentionKernel>);

}  // namespace
}  // namespace headscope::testing
