// The second oracle of the attention kernels: LibTorch in float64, which shares no code with the reference. The output
// is scaled_dot_product_attention's with an explicit mask; statistics and pooled maps are compositions of its
// operations.
#include <gtest/gtest.h>

#include <ATen/ATen.h>

#include <array>
#include <limits>

#include "tests/kernels/attention_case.h"
#include "tests/kernels/tolerance.h"
#include "tests/support/compare.h"

namespace headscope::testing {
namespace {

at::Tensor in_double(const InputRows& rows, int64_t batch, int64_t heads, int64_t count, int64_t dim) {
  return at::from_blob(const_cast<void*>(rows.data), {batch, heads, count, dim},
                       {rows.batch_stride, rows.head_stride, rows.row_stride, 1}, at::kFloat)
      .to(at::kDouble);
}

std::vector<float> floats(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.to(at::kFloat).contiguous();
  return {flat.const_data_ptr<float>(), flat.const_data_ptr<float>() + flat.numel()};
}

/// What LibTorch makes of a case. Every row sees a key.
class Composition {
 public:
  explicit Composition(const AttentionCase& c)
      : spec_(c.spec), p_(c.in_f32()), key_(at::arange(p_.kv_len, at::kDouble)) {
    const int64_t group = p_.q_heads / p_.kv_heads;
    position_ = at::arange(p_.q_len, at::kDouble).add(p_.causal_offset).unsqueeze(1);
    const at::Tensor q = in_double(p_.q, p_.batch, p_.q_heads, p_.q_len, p_.key_dim);
    const at::Tensor k = in_double(p_.k, p_.batch, p_.kv_heads, p_.kv_len, p_.key_dim).repeat_interleave(group, 1);
    const at::Tensor v = in_double(p_.v, p_.batch, p_.kv_heads, p_.kv_len, p_.value_dim).repeat_interleave(group, 1);
    const at::Tensor added = bias();
    at::Tensor scores = at::matmul(q, k.transpose(2, 3)) * double{p_.scale};
    if (p_.soft_cap > 0) scores = at::tanh(scores / double{p_.soft_cap}) * double{p_.soft_cap};
    scores_ = scores + added;
    map = at::softmax(scores_, -1);
    out_ = p_.soft_cap > 0 ? at::matmul(map, v)
                           : at::scaled_dot_product_attention(q, k, v, added, 0, false, double{p_.scale});
  }

  Results results() const {
    Results r = Results::sized(p_, spec_.cells);
    const at::Tensor largest = scores_.amax(-1), back = position_ - key_, distance = (map * back).sum(-1);
    r.out = floats(out_);
    r.row_max = floats(largest);
    r.log_sum = floats(at::logsumexp(scores_, {-1}) - largest);
    r.entropy = floats(-at::xlogy(map, map).sum(-1));
    r.max = floats(map.amax(-1));
    r.distance = floats(distance);
    r.distance_variance = floats((map * (back - distance.unsqueeze(-1)).square()).sum(-1));
    r.sink = floats((map * (key_ < spec_.sink_tokens)).sum(-1));
    r.window = floats((map * (back >= 0).logical_and(back < spec_.window_tokens)).sum(-1));
    r.thumbnails = floats(thumbnails());
    return r;
  }

  at::Tensor map;  ///< [batch, q_heads, q_len, kv_len]

 private:
  /// What is added to scores, [q_heads, q_len, kv_len]: -inf where a row does not see a key.
  at::Tensor bias() const {
    at::Tensor bias = at::zeros({p_.q_heads, p_.q_len, p_.kv_len}, at::kDouble);
    constexpr double hidden = -std::numeric_limits<double>::infinity();
    if (p_.causal) bias.masked_fill_(key_ > position_, hidden);
    if (p_.window > 0) bias.masked_fill_(key_ <= position_ - p_.window, hidden);
    const auto given = [](const float* numbers, at::IntArrayRef size) {
      return at::from_blob(const_cast<float*>(numbers), size, at::kFloat).to(at::kDouble);
    };
    if (p_.alibi_slopes) bias += given(p_.alibi_slopes, {p_.q_heads, 1, 1}) * key_;
    if (p_.key_log_weight) bias += given(p_.key_log_weight, {p_.q_heads, 1, p_.kv_len});
    return bias;
  }

  /// Cells count positions from 0: there are no rows before the first one's.
  at::Tensor thumbnails() const {
    const at::Tensor square = at::constant_pad_nd(map, {0, 0, p_.causal_offset, 0});
    const at::Tensor pooled = at::max_pool2d(square, {spec_.bin, spec_.bin}, {}, 0, 1, true);
    const int64_t cells = spec_.cells;
    return at::constant_pad_nd(pooled, {0, cells - pooled.size(3), 0, cells - pooled.size(2)});
  }

  const CaseSpec spec_;
  const AttentionProblem p_;
  at::Tensor key_, position_;  ///< [kv_len], [q_len, 1]
  at::Tensor scores_, out_;
};

std::vector<CaseSpec> specs() {
  std::vector<CaseSpec> specs;
  const auto add = [&](const char* name, int64_t q_len, int64_t kv_len, auto set) {
    CaseSpec spec = grouped_spec(q_len, kv_len);
    spec.name = name;
    spec.key_dim = spec.value_dim = 64;
    set(spec);
    specs.push_back(spec);
  };
  add("square", 129, 129, [](CaseSpec& s) { s.kv_heads = 4; });
  add("groups_of_4", 33, 200, [](CaseSpec& s) { s.q_heads = 8, s.key_dim = 80, s.value_dim = 40; });
  add("multi_query_all_keys", 65, 127, [](CaseSpec& s) { s.q_heads = 5, s.kv_heads = 1, s.causal = false; });
  add("window", 130, 130, [](CaseSpec& s) { s.window = 17, s.key_dim = 128; });
  add("window_behind_a_prompt", 40, 1000, [](CaseSpec& s) { s.window = 300, s.batch = 2; });
  add("rows_in_the_middle", 50, 150, [](CaseSpec& s) { s.offset = 60; });
  add("alibi", 64, 190, [](CaseSpec& s) { s.alibi = true; });
  add("log_weights", 70, 140, [](CaseSpec& s) { s.log_weights = LogWeights::finite, s.alibi = true, s.window = 50; });
  add("strided", 65, 65, [](CaseSpec& s) { s.memory = Memory::interleaved, s.batch = 2, s.key_dim = 40; });
  add("soft_cap", 100, 129, [](CaseSpec& s) { s.soft_cap = 5; });
  add("rising", 200, 300, [](CaseSpec& s) { s.scores = Scores::rising; });
  add("sink_and_window_of_many", 300, 300, [](CaseSpec& s) { s.sink_tokens = 100, s.window_tokens = 120; });
  add("one_row", 1, 3000, [](CaseSpec& s) { s.q_heads = 8, s.key_dim = s.value_dim = 128; });
  add("three_rows", 3, 2100, [](CaseSpec& s) { s.key_dim = 192, s.value_dim = 128; });
  add("bf16", 129, 200, [](CaseSpec& s) { s.element = Element::bf16; });
  add("bf16_one_row", 1, 2000, [](CaseSpec& s) { s.element = Element::bf16, s.window = 1500; });
  return specs;
}

class AttentionOracle : public ::testing::TestWithParam<CaseSpec> {
 protected:
  void expect_forward(const AttentionKernel& kernel, const Results& actual) const {
    for (const NamedArray& array : result_arrays()) {
      const bool rounded = array.array == &Results::out && kernel.name == "cpu/AVX512_BF16";
      EXPECT_TRUE(all_near(actual.*array.array, expected_.*array.array,
                           rounded ? tolerance_.of_bf16_output() : tolerance_.of(array)))
          << array.name;
    }
    // Where two weights are nearly equal, either key is right.
    const at::Tensor keys = at::tensor(actual.argmax).to(at::kLong).view({-1, 1});
    const at::Tensor at_keys = library_.map.flatten(0, 2).gather(1, keys);
    EXPECT_TRUE(all_near(floats(at_keys), expected_.max, tolerance_.of_weights())) << "argmax";
  }

  void expect_tiles(const AttentionKernel& kernel, const Results& actual) const {
    const AttentionProblem& p = case_.problem;
    for (const int64_t bin : {int64_t{1}, int64_t{5}, int64_t{32}}) {
      const std::array cell{bin, bin};
      const auto cells = [&](Pooling pooling) {
        const at::Tensor all = pooling == Pooling::max ? at::max_pool2d(library_.map, cell, {}, 0, 1, true)
                                                       : at::avg_pool2d(library_.map, cell, {}, 0, true, false);
        return floats(all[p.batch - 1][p.q_heads - 1]);
      };
      for (const Pooling pooling : {Pooling::max, Pooling::mean}) {
        const TileRequest request{p.batch - 1, p.q_heads - 1, 0, p.q_len, 0, p.kv_len, bin, pooling};
        EXPECT_TRUE(all_near(run_tile(kernel, p, actual, request, pool_), cells(pooling), tolerance_.of_weights()))
            << "bin " << bin;
      }
    }
  }

  const AttentionCase case_{GetParam()};
  const Composition library_{case_};
  const Results expected_ = library_.results();
  const Tolerances tolerance_{case_, expected_};
  const ThreadPool pool_{2};
};

TEST_P(AttentionOracle, EveryKernelAgrees) {
  std::vector<AttentionKernel> kernels = kernels_for(case_.problem);
  kernels.push_back(reference_kernel());
  for (const AttentionKernel& kernel : kernels) {
    SCOPED_TRACE(kernel.name);
    const Results actual = run_forward(kernel, case_, pool_);
    expect_forward(kernel, actual);
    expect_tiles(kernel, actual);
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, AttentionOracle, ::testing::ValuesIn(specs()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace headscope::testing
