// Lengths that the CUDA kernels read on the device (AttentionProblem::lengths), on the emulator.
#include <gtest/gtest.h>

#include <functional>
#include <stdexcept>

#include "kernels/cuda/attention.h"
#include "tests/kernels/attention_case.h"
#include "tests/kernels/map_case.h"
#include "tests/support/compare.h"

namespace headscope::testing {
namespace {

const AttentionKernel kernel = cuda::attention_kernel("cuda/emulated");

/// Results of the problem `longest`, with the lengths that the device says: those of `now`.
Results run_with_lengths(const AttentionCase& now, const AttentionProblem& longest, const ProblemLengths& lengths) {
  const AttentionProblem& p = now.problem;
  Results r = Results::sized(p, now.spec.cells);
  AttentionOutput output;
  output.out = {r.out.data(), p.q_heads * p.q_len * p.value_dim, p.q_len * p.value_dim, p.value_dim};
  output.row_max = r.row_max.data(), output.log_sum = r.log_sum.data();
  output.statistics = {r.entropy.data(),           r.max.data(),  r.argmax.data(), r.distance.data(),
                       r.distance_variance.data(), r.sink.data(), r.window.data(), now.spec.sink_tokens,
                       now.spec.window_tokens};
  output.thumbnails = {r.thumbnails.data(), now.spec.cells, now.spec.bin};
  AttentionProblem problem = longest;
  problem.lengths = &lengths;
  Guarded<std::byte> workspace(cuda::forward_workspace(problem, output, 1));
  cuda::forward(problem, output, workspace.span(), SerialFor());
  EXPECT_TRUE(workspace.intact());
  return r;
}

CaseSpec spec_of(int64_t group, int64_t longest, Element element) {
  CaseSpec spec = grouped_spec(1, longest);
  spec.q_heads = 2 * group;
  spec.kv_heads = 2;
  spec.key_dim = spec.value_dim = 24;
  spec.element = element;
  return spec;
}

/// One launch for all lengths of a cache gives the bits of a launch for each.
void expect_bits_of_own_launch(const CaseSpec& spec, int64_t kv_len) {
  AttentionCase now(spec);
  const AttentionProblem longest = now.problem;
  const ProblemLengths lengths{kv_len, kv_len - 1};
  now.problem.kv_len = kv_len, now.problem.causal_offset = kv_len - 1;
  const Results expected = run_forward(kernel, now, SerialFor());
  const Results actual = run_with_lengths(now, longest, lengths);
  for (const NamedArray& array : result_arrays()) {
    EXPECT_TRUE(same_bits(actual.*array.array, expected.*array.array)) << array.name;
  }
  EXPECT_EQ(actual.argmax, expected.argmax);
}

class Lengths : public ::testing::TestWithParam<Element> {};

TEST_P(Lengths, MayBeReadOnTheDevice) {
  for (const int64_t window : {0, 500}) {
    for (const int64_t kv_len : {1, 60, 300, 777, 2048}) {
      SCOPED_TRACE(std::to_string(kv_len) + " keys, window " + std::to_string(window));
      CaseSpec spec = spec_of(3, 2048, GetParam());
      spec.window = window;
      expect_bits_of_own_launch(spec, kv_len);
    }
  }
}

/// Of more heads than a block has rows, too.
TEST_P(Lengths, OfALargeGroupMayBeReadOnTheDevice) {
  for (const int64_t kv_len : {60, 777}) {
    SCOPED_TRACE(kv_len);
    expect_bits_of_own_launch(spec_of(71, 1000, GetParam()), kv_len);
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, Lengths, ::testing::Values(Element::f32, Element::bf16),
                         [](const auto& test) { return test.param == Element::f32 ? "f32" : "bf16"; });

/// Before anything is started: nothing is written.
TEST(LengthsOnTheDevice, AreRefusedWhereTheyAreNotRead) {
  const AttentionCase c(spec_of(1, 40, Element::f32));
  const ProblemLengths lengths{20, 19};
  AttentionProblem p = c.problem;
  p.lengths = &lengths;
  const Results forward = run_forward(kernel, c, SerialFor());
  const float *row_max = forward.row_max.data(), *log_sum = forward.log_sum.data();
  std::vector<float> written(80, 7);
  float* const cells = written.data();
  const std::vector<std::function<void()>> calls = {
      [&] {
        AttentionOutput output;
        output.scores = {cells, 80, 40, 40};
        std::vector<std::byte> workspace(kernel.forward_workspace(p, output, 1));
        kernel.forward(p, output, workspace, SerialFor());
      },
      [&] {
        const TileRequest tile{0, 0, 0, 1, 0, 40};
        std::vector<std::byte> workspace(kernel.tiles_workspace(p, {&tile, 1}, 1));
        kernel.tiles(p, row_max, log_sum, {&tile, 1}, {&cells, 1}, workspace, SerialFor(), {});
      },
      [&] {
        MapStatistics wanted;
        wanted.column_mass = cells;
        std::vector<std::byte> workspace(kernel.map_statistics_workspace(p, wanted, 1));
        kernel.map_statistics(p, row_max, log_sum, wanted, workspace, SerialFor(), {});
      },
      [&] {
        DivergenceRequest request;
        request.row_end = 1;
        std::vector<std::byte> workspace(kernel.divergence_workspace(p, request, 1));
        kernel.divergence(p, row_max, log_sum, request, {cells, cells + 4, cells + 8}, workspace, SerialFor(), {});
      },
  };
  for (const auto& call : calls) EXPECT_THROW(call(), std::invalid_argument);
  EXPECT_EQ(written, std::vector<float>(80, 7));
}

}  // namespace
}  // namespace headscope::testing
