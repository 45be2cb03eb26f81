// Inputs that hold NaN or infinity, outputs that nobody wants, and sizes of 0, for every kernel.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "tests/kernels/attention_case.h"
#include "tests/kernels/kernel_test_name.h"
#include "tests/support/compare.h"

namespace headscope::testing {
namespace {

constexpr float nan = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();

CaseSpec spec_of(int64_t length) {
  CaseSpec spec;
  spec.q_heads = 2;
  spec.kv_heads = 1;
  spec.q_len = spec.kv_len = length;
  spec.key_dim = 24;
  spec.value_dim = 40;
  spec.bin = (length + 63) / 64;
  return spec;
}

class Robustness : public ::testing::TestWithParam<AttentionKernel> {
 protected:
  Results run(const AttentionCase& c) const { return run_forward(GetParam(), c, ThreadPool(2)); }

  /// Rows [begin, end) of head `head` have the same bits in both.
  static void expect_same_rows(const Results& actual, const Results& expected, int64_t head, int64_t rows,
                               int64_t begin, int64_t end, int64_t value_dim) {
    for (const NamedArray& array : result_arrays()) {
      if (array.array == &Results::thumbnails || array.array == &Results::scores) continue;
      const int64_t width = array.array == &Results::out ? value_dim : 1;
      const auto slice = [&](const std::vector<float>& all) {
        return std::vector<float>(all.begin() + (head * rows + begin) * width,
                                  all.begin() + (head * rows + end) * width);
      };
      EXPECT_TRUE(same_bits(slice(actual.*array.array), slice(expected.*array.array))) << array.name;
    }
  }
};

TEST_P(Robustness, ABadValueReachesOnlyTheRowsThatSeeIt) {
  for (const float bad : {nan, infinity}) {
    AttentionCase clean(spec_of(300)), dirty(spec_of(300));
    dirty.value(0, 0, 123)[7] = bad;
    const Results expected = run(clean), actual = run(dirty);
    for (int64_t head = 0; head < 2; ++head) {
      expect_same_rows(actual, expected, head, 300, 0, 123, 40);
      for (int64_t row = 123; row < 300; ++row) {
        const auto at = static_cast<size_t>((head * 300 + row) * 40);
        ASSERT_FALSE(std::isfinite(actual.out[at + 7])) << row;
        ASSERT_TRUE(std::isfinite(actual.out[at + 6])) << "another dimension of row " << row;
      }
    }
  }
}

TEST_P(Robustness, ABadKeyReachesOnlyTheRowsThatSeeIt) {
  AttentionCase clean(spec_of(300)), dirty(spec_of(300));
  dirty.key(0, 0, 260)[3] = nan;
  const Results expected = run(clean), actual = run(dirty);
  for (int64_t head = 0; head < 2; ++head) {
    expect_same_rows(actual, expected, head, 300, 0, 260, 40);
    for (int64_t row = 260; row < 300; ++row) {
      ASSERT_TRUE(std::isnan(actual.out[static_cast<size_t>((head * 300 + row) * 40)])) << row;
    }
  }
}

TEST_P(Robustness, ABadQueryStaysInItsRow) {
  AttentionCase clean(spec_of(100)), dirty(spec_of(100));
  const_cast<float*>(dirty.problem.q.row(0, 1, 40))[0] = nan;
  const Results expected = run(clean), actual = run(dirty);
  expect_same_rows(actual, expected, 0, 100, 0, 100, 40);
  expect_same_rows(actual, expected, 1, 100, 0, 40, 40);
  expect_same_rows(actual, expected, 1, 100, 41, 100, 40);
  EXPECT_TRUE(std::isnan(actual.out[140 * 40])) << "a row with a NaN score must not look sound";
  EXPECT_TRUE(std::isnan(actual.entropy[140]));
}

/// A head whose keys 20 and 200 are hidden, beside what one bad row of it makes of maps.
struct SpoiledRow {
  static constexpr int64_t length = 300, head = 1, row = 140;
  AttentionCase clean{spec_of(length)}, dirty{spec_of(length)};

  SpoiledRow() {
    for (AttentionCase* c : {&clean, &dirty}) {
      c->log_weight.assign(2 * length, 0.0F);
      c->log_weight[head * length + 20] = c->log_weight[head * length + 200] = -infinity;
      c->problem.key_log_weight = c->log_weight.data();
    }
  }

  /// Whether the row sees a key of [begin, end).
  static bool sees_any(int64_t begin, int64_t end) {
    for (int64_t key = begin; key < std::min(end, row + 1); ++key) {
      if (key != 20) return true;
    }
    return false;
  }

  /// `actual` is NaN in the cells of the bad row that hold a key it sees, and `expected` to the bit elsewhere.
  static void expect_spoiled(const std::vector<float>& actual, const std::vector<float>& expected, int64_t columns,
                             int64_t bin) {
    for (size_t i = 0; i < actual.size(); ++i) {
      const auto r = static_cast<int64_t>(i) / columns, c = static_cast<int64_t>(i) % columns;
      if (r == row / bin && sees_any(c * bin, (c + 1) * bin)) {
        ASSERT_TRUE(std::isnan(actual[i])) << "cell " << r << ", " << c << " of bin " << bin << ": " << actual[i];
      } else {
        ASSERT_TRUE(std::bit_cast<uint32_t>(actual[i]) == std::bit_cast<uint32_t>(expected[i]))
            << "cell " << r << ", " << c << " of bin " << bin;
      }
    }
  }

  /// Checks tiles of `dirty`, whose forward pass gave `spoiled`, in several zooms.
  void expect_spoiled_tiles(const AttentionKernel& kernel, const Results& sound, const Results& spoiled) const {
    for (const Pooling pooling : {Pooling::mean, Pooling::max}) {
      for (const int64_t bin : {1, 9, 64, 1000}) {
        const TileRequest request{0, head, 0, length, 0, length, bin, pooling};
        expect_spoiled(run_tile(kernel, dirty.problem, spoiled, request, ThreadPool(2)),
                       run_tile(kernel, clean.problem, sound, request, ThreadPool(2)), request.columns(), bin);
      }
    }
  }
};

TEST_P(Robustness, ATileShowsARowWhoseScoresAreAllNaN) {
  SpoiledRow s;
  const_cast<float*>(s.dirty.problem.q.row(0, s.head, s.row))[0] = nan;
  s.expect_spoiled_tiles(GetParam(), run(s.clean), run(s.dirty));
}

TEST_P(Robustness, ATileShowsARowWithOneNaNScore) {
  SpoiledRow s;
  s.dirty.log_weight[s.head * s.length + 7] = nan;
  Results sound = run(s.clean), one = sound;
  const Results all = run(s.dirty);
  const auto at = static_cast<size_t>(s.head * s.length + s.row);
  one.row_max[at] = all.row_max[at];
  one.log_sum[at] = all.log_sum[at];
  ASSERT_TRUE(std::isfinite(one.row_max[at]) && std::isnan(one.log_sum[at]));
  s.dirty.log_weight[s.head * s.length + 7] = 0;
  s.expect_spoiled_tiles(GetParam(), sound, one);
}

TEST_P(Robustness, ATileShowsARowWhoseMaximumIsNaN) {
  const SpoiledRow s;
  const Results sound = run(s.clean);
  Results spoiled = sound;
  spoiled.row_max[static_cast<size_t>(s.head * s.length + s.row)] = nan;
  s.expect_spoiled_tiles(GetParam(), sound, spoiled);
}

TEST_P(Robustness, AThumbnailShowsARowOfNaN) {
  SpoiledRow s;
  const_cast<float*>(s.dirty.problem.q.row(0, s.head, s.row))[0] = nan;
  const auto map = [&](const Results& r) {
    return std::vector<float>(r.thumbnails.begin() + s.head * 64 * 64, r.thumbnails.end());
  };
  const Results sound = run(s.clean), spoiled = run(s.dirty);
  s.expect_spoiled(map(spoiled), map(sound), 64, s.clean.spec.bin);
  Results again = spoiled;
  run_forward_rows(GetParam(), s.clean, 0, s.length, SerialFor(), again);
  EXPECT_TRUE(same_bits(again.thumbnails, spoiled.thumbnails)) << "a sound weight replaced NaN";
}

TEST_P(Robustness, AKeyOfWeightZeroMayHoldAnything) {
  AttentionCase clean(spec_of(300)), dirty(spec_of(300));
  clean.log_weight.assign(600, 0.0F);
  clean.log_weight[200] = clean.log_weight[500] = -infinity;
  dirty.log_weight = clean.log_weight;
  clean.problem.key_log_weight = clean.log_weight.data();
  dirty.problem.key_log_weight = dirty.log_weight.data();
  std::fill_n(dirty.key(0, 0, 200), 24, nan);
  std::fill_n(dirty.value(0, 0, 200), 40, nan);
  const Results expected = run(clean), actual = run(dirty);
  for (int64_t head = 0; head < 2; ++head) expect_same_rows(actual, expected, head, 300, 0, 300, 40);
  EXPECT_TRUE(same_bits(actual.thumbnails, expected.thumbnails));
}

TEST_P(Robustness, NothingCrashesOnNonsense) {
  for (const float bad : {nan, infinity, -infinity, 3e38F}) {
    AttentionCase c(spec_of(130));
    std::fill(c.q.begin(), c.q.end(), bad);
    std::fill(c.k.begin(), c.k.end(), bad);
    std::fill(c.v.begin(), c.v.end(), bad);
    c.problem.soft_cap = 5;
    const Results r = run(c);
    for (const int32_t key : r.argmax) ASSERT_TRUE(key >= -1 && key < 130) << key;
    run_tile(GetParam(), c.problem, r, {0, 1, 0, 130, 0, 130, 9, Pooling::mean}, SerialFor());
  }
}

TEST_P(Robustness, EachOutputMayBeLeftOut) {
  const AttentionCase c(spec_of(150));
  const Results all = run(c);
  Results one = Results::sized(c.problem, c.spec.cells);
  const auto call = [&](const AttentionOutput& output) {
    Guarded<std::byte> workspace(GetParam().forward_workspace(c.problem, output, 1));
    GetParam().forward(c.problem, output, workspace.span(), SerialFor());
  };
  AttentionOutput nothing;
  call(nothing);
  AttentionOutput out;
  out.out = {one.out.data(), 0, 150 * 40, 40};
  call(out);
  EXPECT_TRUE(same_bits(one.out, all.out));
  const auto statistic = [&](auto RowStatistics::*field, auto Results::*array) {
    AttentionOutput output;
    output.statistics.*field = (one.*array).data();
    call(output);
    EXPECT_TRUE(same_bits(one.*array, all.*array));
  };
  statistic(&RowStatistics::entropy, &Results::entropy);
  statistic(&RowStatistics::max, &Results::max);
  statistic(&RowStatistics::argmax, &Results::argmax);
  statistic(&RowStatistics::distance, &Results::distance);
  statistic(&RowStatistics::distance_variance, &Results::distance_variance);
  statistic(&RowStatistics::sink, &Results::sink);
  statistic(&RowStatistics::window, &Results::window);
  AttentionOutput thumbnails;
  thumbnails.thumbnails = {one.thumbnails.data(), c.spec.cells, c.spec.bin};
  call(thumbnails);
  EXPECT_TRUE(same_bits(one.thumbnails, all.thumbnails));
}

TEST_P(Robustness, ThumbnailsAreOnlyRaised) {
  const AttentionCase c(spec_of(100));
  Results results = Results::sized(c.problem, c.spec.cells);
  std::fill(results.thumbnails.begin(), results.thumbnails.end(), 2.0F);
  run_forward_rows(GetParam(), c, 0, 100, SerialFor(), results);
  for (const float cell : results.thumbnails) ASSERT_EQ(cell, 2);
}

TEST_P(Robustness, TooManyThumbnailCellsAreRefused) {
  CaseSpec spec = spec_of(5);
  spec.cells = Thumbnails::max_cells + 1;
  const AttentionCase c(spec);
  Results results = Results::sized(c.problem, spec.cells);
  EXPECT_THROW(run_forward_rows(GetParam(), c, 0, 5, SerialFor(), results), std::invalid_argument);
}

TEST_P(Robustness, NoRowsAndNoKeys) {
  AttentionCase c(spec_of(5));
  AttentionProblem no_rows = c.problem;
  no_rows.q_len = 0;
  Guarded<std::byte> workspace(GetParam().forward_workspace(no_rows, {}, 1));
  GetParam().forward(no_rows, {}, workspace.span(), SerialFor());
  EXPECT_TRUE(workspace.intact());
  c.problem.kv_len = 0;
  const Results r = run(c);
  for (const float value : r.out) ASSERT_EQ(value, 0);
  for (const int32_t key : r.argmax) ASSERT_EQ(key, -1);
  for (const float value : r.row_max) ASSERT_EQ(value, -infinity);
}

INSTANTIATE_TEST_SUITE_P(Kernels, Robustness, ::testing::ValuesIn(f32_kernels()), kernel_test_name<AttentionKernel>);

}  // namespace
}  // namespace headscope::testing
