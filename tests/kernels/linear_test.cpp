// Linear layers on every vector instruction set that this machine can run, against sums in double.
#include "kernels/linear.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <ostream>
#include <random>
#include <vector>

#include "kernels/thread_pool.h"
#include "tests/kernels/kernel_test_name.h"
#include "tests/support/compare.h"
#include "tests/support/guarded.h"

namespace headscope {

/// How test names show a kernel.
inline void PrintTo(const LinearKernel& kernel, std::ostream* out) { *out << kernel.name; }

}  // namespace headscope

namespace headscope::testing {
namespace {

constexpr float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();

enum class Type { f32, bf16 };

struct Shape {
  int64_t rows, columns, tokens;
};

float widened(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

/// The nearest bf16, of two the even one.
uint16_t rounded(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

/// Random numbers, unaligned, with NaN between the rows of weights and of tokens.
struct LinearCase {
  LinearCase(Shape s, Type t, bool with_bias) : shape(s), type(t) {
    std::mt19937_64 random(static_cast<uint64_t>((s.rows * 5000 + s.columns) * 500 + s.tokens));
    std::normal_distribution<float> normal;
    const auto fill = [&](std::vector<float>& values, int64_t rows, int64_t columns) {
      values.assign(static_cast<size_t>(start + rows * (columns + gap)), nan);
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t c = 0; c < columns; ++c)
          values[static_cast<size_t>(start + r * (columns + gap) + c)] = normal(random);
      }
    };
    fill(weights, s.rows, s.columns);
    fill(x, s.tokens, s.columns);
    if (with_bias) fill(bias, 1, s.rows);
    if (type == Type::f32) return;
    for (float& weight : weights) {
      bf16_weights.push_back(rounded(weight));
      weight = widened(bf16_weights.back());
    }
  }

  float& weight(int64_t row, int64_t column) {
    return weights[static_cast<size_t>(start + row * (shape.columns + gap) + column)];
  }
  float& token(int64_t t, int64_t column) { return x[static_cast<size_t>(start + t * (shape.columns + gap) + column)]; }
  /// Carries changes of `weights` over.
  void narrow() {
    for (size_t i = 0; i < bf16_weights.size(); ++i) bf16_weights[i] = rounded(weights[i]);
  }

  LinearProblem problem() const {
    LinearProblem p;
    if (type == Type::f32) {
      p.weights = weights.data() + start;
    } else {
      p.bf16_weights = bf16_weights.data() + start;
    }
    p.rows = shape.rows;
    p.columns = shape.columns;
    p.row_stride = p.x_stride = shape.columns + gap;
    p.bias = bias.empty() ? nullptr : bias.data() + start;
    p.x = x.data() + start;
    p.tokens = shape.tokens;
    return p;
  }

  static constexpr int64_t start = 1, gap = 3;
  Shape shape;
  Type type;
  std::vector<float> weights, x, bias;
  std::vector<uint16_t> bf16_weights;
};

/// y [tokens, rows], with what lies beside y and the workspace checked.
std::vector<float> run(const LinearKernel& kernel, LinearProblem p, int workers) {
  const ThreadPool pool(workers);
  constexpr int64_t gap = 5;
  const int64_t stride = p.rows + gap;
  Guarded<float> y(static_cast<size_t>(1 + p.tokens * stride));
  Guarded<std::byte> workspace(kernel.workspace(p, workers));
  p.y = y.data() + 1;
  p.y_stride = stride;
  kernel.multiply(p, workspace.span(), pool);
  EXPECT_TRUE(y.intact() && workspace.intact() && y.untouched(0, 1));
  std::vector<float> results;
  for (int64_t t = 0; t < p.tokens; ++t) {
    const float* row = p.y + t * stride;
    results.insert(results.end(), row, row + p.rows);
    const auto end = static_cast<size_t>(1 + t * stride + p.rows);
    EXPECT_TRUE(y.untouched(end, end + gap)) << "behind token " << t;
  }
  return results;
}

/// Sums in `Sum`, in the order of the columns; `round_x` as kernels do that round tokens to bf16.
template <class Sum>
std::vector<float> sums(const LinearProblem& p, bool round_x) {
  std::vector<float> results;
  for (int64_t t = 0; t < p.tokens; ++t) {
    for (int64_t r = 0; r < p.rows; ++r) {
      Sum sum = 0;
      for (int64_t c = 0; c < p.columns; ++c) {
        const float x = p.x[t * p.x_stride + c];
        const int64_t at = r * p.row_stride + c;
        const float weight = p.weights != nullptr ? p.weights[at] : widened(p.bf16_weights[at]);
        sum += static_cast<Sum>(weight) * static_cast<Sum>(round_x ? widened(rounded(x)) : x);
      }
      results.push_back(static_cast<float>(sum + static_cast<Sum>(p.bias != nullptr ? p.bias[r] : 0)));
    }
  }
  return results;
}

class Linear : public ::testing::TestWithParam<LinearKernel> {
 protected:
  bool rounds_x() const { return GetParam().name == "cpu/AVX512_BF16"; }

  /// Calls `check` for every combination of types and bias that the kernel can run.
  template <class Check>
  void for_all(Shape shape, Check check) const {
    for (const Type type : {Type::f32, Type::bf16}) {
      for (const bool bias : {false, true}) {
        LinearCase one(shape, type, bias);
        if (!GetParam().supports(one.problem())) continue;
        SCOPED_TRACE(::testing::Message() << shape.rows << " x " << shape.columns << ", " << shape.tokens << " tokens, "
                                          << (type == Type::f32 ? "f32" : "bf16") << (bias ? ", bias" : ""));
        check(one);
      }
    }
  }

  void expect_sums(const LinearCase& one) const {
    const LinearProblem p = one.problem();
    EXPECT_TRUE(all_near(run(GetParam(), p, 2), sums<double>(p, rounds_x()), tolerance(one)));
  }

  /// A few naive results may be right by luck, so those of 256 more are asked.
  double tolerance(const LinearCase& one) const {
    const LinearCase more({16, one.shape.columns, 16}, one.type, !one.bias.empty());
    double largest = 0;
    for (const LinearProblem& p : {one.problem(), more.problem()}) {
      largest = std::max(largest, kernel_tolerance(sums<float>(p, rounds_x()), sums<double>(p, rounds_x())));
    }
    return largest;
  }
};

TEST_P(Linear, IsTheSumForAnyNumberOfTokens) {
  for (int64_t tokens = 1; tokens <= 70; ++tokens) {
    for_all({67, 45, tokens}, [&](const LinearCase& one) { expect_sums(one); });
  }
}

TEST_P(Linear, IsTheSumForAnyShape) {
  // Around the widths of vectors, tiles and blocks, and beyond them.
  for (const int64_t columns : {1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 33, 64, 100, 129, 767, 769, 1537, 2000}) {
    for (const int64_t tokens : {1, 3, 8, 9, 16}) {
      for_all({19, columns, tokens}, [&](const LinearCase& one) { expect_sums(one); });
    }
  }
  for (const int64_t rows : {1, 2, 5, 8, 16, 17, 63, 64, 65, 128, 191, 192, 193, 400}) {
    for (const int64_t tokens : {1, 4, 11}) {
      for_all({rows, 37, tokens}, [&](const LinearCase& one) { expect_sums(one); });
    }
  }
  for_all({200, 800, 300}, [&](const LinearCase& one) { expect_sums(one); });
}

TEST_P(Linear, NothingToDoIsFine) {
  for (const int64_t tokens : {0, 1, 20}) {
    for_all({0, 10, tokens}, [&](const LinearCase& one) { EXPECT_TRUE(run(GetParam(), one.problem(), 2).empty()); });
    for_all({70, 0, tokens}, [&](const LinearCase& one) { expect_sums(one); });
  }
}

TEST_P(Linear, WorkersDoNotChangeABit) {
  for (const int64_t tokens : {1, 7, 9, 300}) {
    for_all({450, 100, tokens}, [&](const LinearCase& one) {
      const std::vector<float> alone = run(GetParam(), one.problem(), 1);
      for (const int workers : {2, 3, 5}) EXPECT_TRUE(same_bits(run(GetParam(), one.problem(), workers), alone));
    });
  }
}

TEST_P(Linear, ATokenDoesNotDependOnThoseBesideIt) {
  struct Part {
    int64_t all, begin, end;
  };
  for (const Part part : {Part{8, 3, 4}, {8, 2, 8}, {5, 0, 3}, {70, 20, 29}, {70, 1, 70}, {300, 131, 167}}) {
    for_all({130, 1000, part.all}, [&](const LinearCase& one) {
      const std::vector<float> all = run(GetParam(), one.problem(), 2);
      LinearProblem p = one.problem();
      p.x += part.begin * p.x_stride;
      p.tokens = part.end - part.begin;
      const std::vector<float> expected(all.begin() + part.begin * p.rows, all.begin() + part.end * p.rows);
      EXPECT_TRUE(same_bits(run(GetParam(), p, 2), expected)) << part.begin << " to " << part.end;
    });
  }
}

TEST_P(Linear, ARowDoesNotDependOnThoseBesideIt) {
  for (const int64_t tokens : {1, 6, 25}) {
    for_all({300, 70, tokens}, [&](const LinearCase& one) {
      const std::vector<float> all = run(GetParam(), one.problem(), 2);
      LinearProblem p = one.problem();
      constexpr int64_t first = 77, count = 101;
      if (p.weights != nullptr) p.weights += first * p.row_stride;
      if (p.bf16_weights != nullptr) p.bf16_weights += first * p.row_stride;
      if (p.bias != nullptr) p.bias += first;
      p.rows = count;
      std::vector<float> expected;
      for (int64_t t = 0; t < tokens; ++t) {
        expected.insert(expected.end(), all.begin() + t * 300 + first, all.begin() + t * 300 + first + count);
      }
      EXPECT_TRUE(same_bits(run(GetParam(), p, 2), expected));
    });
  }
}

TEST_P(Linear, BadValuesGoOnlyWhereTheyBelong) {
  constexpr int64_t bad_row = 66, bad_token = 2;
  for (const float bad : {nan, infinity, -infinity}) {
    for (const int64_t tokens : {3, 8, 10, 45}) {
      for_all({130, 71, tokens}, [&](LinearCase& one) {
        const std::vector<float> clean = run(GetParam(), one.problem(), 2);
        one.weight(bad_row, 70) = bad;
        one.token(bad_token, 5) = bad;
        one.narrow();
        const std::vector<float> actual = run(GetParam(), one.problem(), 2);
        for (int64_t i = 0; i < tokens * 130; ++i) {
          const auto at = static_cast<size_t>(i);
          if (i % 130 == bad_row || i / 130 == bad_token) {
            ASSERT_FALSE(std::isfinite(actual[at])) << "token " << i / 130 << ", row " << i % 130;
          } else {
            ASSERT_EQ(std::bit_cast<uint32_t>(actual[at]), std::bit_cast<uint32_t>(clean[at])) << i;
          }
        }
      });
    }
  }
}

TEST_P(Linear, ABadBiasReachesItsRowAlone) {
  for (const int64_t tokens : {1, 8, 20}) {
    for_all({70, 33, tokens}, [&](LinearCase& one) {
      if (one.bias.empty()) return;
      one.bias[LinearCase::start + 9] = nan;
      const std::vector<float> actual = run(GetParam(), one.problem(), 2);
      for (size_t i = 0; i < actual.size(); ++i) ASSERT_EQ(std::isnan(actual[i]), i % 70 == 9) << i;
    });
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, Linear, ::testing::ValuesIn(linear_kernels().begin(), linear_kernels().end()),
                         kernel_test_name<LinearKernel>);

TEST(LinearSelection, RoundsOnlyManyTokensOfBf16WeightsThatNeedNotBeExact) {
  const bool can_round = linear_kernels().back().name == "cpu/AVX512_BF16";
  const auto rounds = [](const LinearProblem& p) { return select_linear_kernel(p).name == "cpu/AVX512_BF16"; };
  for (const int64_t tokens : {int64_t{1}, few_tokens, few_tokens + 1, int64_t{300}}) {
    LinearProblem p = LinearCase({5, 4, tokens}, Type::bf16, false).problem();
    EXPECT_EQ(rounds(p), can_round && tokens > few_tokens) << tokens;
    p.exact = true;
    EXPECT_FALSE(rounds(p)) << tokens;
    EXPECT_FALSE(rounds(LinearCase({5, 4, tokens}, Type::f32, false).problem())) << tokens;
  }
}

TEST(LinearSelection, RoundsToTheNearestBf16AndTiesToEvenAndResultsNotAtAll) {
  const float step = std::ldexp(1.0F, -7);  // between neighbours from 1 on
  const struct {
    float x, expected;
  } values[] = {{1 + 0.5F * step, 1},
                {1 + 1.5F * step, 1 + 2 * step},
                {1 + 0.75F * step, 1 + step},
                {-1 - 0.5F * step, -1},
                {std::numeric_limits<float>::denorm_min(), 0},
                {infinity, infinity},
                {1, 1}};
  for (const auto& value : values) {
    LinearCase one({3, 2, few_tokens + 1}, Type::bf16, false);
    one.weights.assign(one.weights.size(), 1);
    one.narrow();
    if (select_linear_kernel(one.problem()).name != "cpu/AVX512_BF16") GTEST_SKIP() << "no AVX512_BF16 here";
    for (int64_t t = 0; t < one.shape.tokens; ++t) {
      one.token(t, 0) = value.x;
      one.token(t, 1) = step * step;
    }
    const std::vector<float> y = run(select_linear_kernel(one.problem()), one.problem(), 1);
    for (const float result : y) EXPECT_EQ(result, value.expected + step * step) << value.x;
  }
}

}  // namespace
}  // namespace headscope::testing
