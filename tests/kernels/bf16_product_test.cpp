#include "kernels/bf16_product.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace headscope {
namespace {

constexpr uint16_t nan_bits = 0x7FC0;

float widened(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

/// Rows of random bf16 with NaN behind each of them, and a random vector.
struct Case {
  Case(int64_t row_count, int64_t column_count, int64_t gap) : rows(row_count), columns(column_count) {
    stride = columns + gap;
    std::mt19937_64 random(static_cast<uint64_t>(rows * 1000 + columns));
    std::normal_distribution<float> normal;
    weights.assign(static_cast<size_t>(rows * stride), nan_bits);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < columns; ++c) {
        weights[static_cast<size_t>(r * stride + c)] =
            static_cast<uint16_t>(std::bit_cast<uint32_t>(normal(random)) >> 16);
      }
    }
    for (int64_t c = 0; c < columns; ++c) x.push_back(normal(random));
  }
  std::vector<float> product() const {
    std::vector<float> y(static_cast<size_t>(rows), std::numeric_limits<float>::quiet_NaN());
    multiply({weights.data(), rows, columns, stride, x.data(), y.data()});
    return y;
  }
  double exact(int64_t row, double& size) const {
    double sum = 0;
    for (int64_t c = 0; c < columns; ++c) {
      const double term = static_cast<double>(widened(weights[static_cast<size_t>(row * stride + c)])) *
                          static_cast<double>(x[static_cast<size_t>(c)]);
      sum += term;
      size += std::abs(term);
    }
    return sum;
  }

  int64_t rows, columns, stride = 0;
  std::vector<uint16_t> weights;
  std::vector<float> x;
};

TEST(Bf16Product, IsTheSumOfProductsWithinF32RoundingForAnyLength) {
  for (const int64_t columns : {0, 1, 3, 4, 15, 16, 17, 31, 32, 63, 64, 65, 100, 128, 191, 1000, 2048}) {
    const Case one(5, columns, 3);
    const auto y = one.product();
    for (int64_t row = 0; row < one.rows; ++row) {
      double size = 0;
      const double expected = one.exact(row, size);
      // At most columns additions, and few of them in one chain.
      EXPECT_NEAR(y[static_cast<size_t>(row)], expected, size * 1.2e-7 * (2 + std::sqrt(static_cast<double>(columns))))
          << columns << " columns, row " << row;
    }
  }
}

TEST(Bf16Product, IsTheSameHoweverTheRowsAreCut) {
  const Case one(37, 77, 0);
  const auto whole = one.product();
  std::vector<float> y(whole.size());
  for (int64_t begin = 0; begin < one.rows; begin += 5) {
    const int64_t count = std::min<int64_t>(5, one.rows - begin);
    multiply({one.weights.data() + begin * one.stride, count, one.columns, one.stride, one.x.data(), y.data() + begin});
  }
  EXPECT_EQ(y, whole);
}

TEST(Bf16Product, SpecialValuesGoThrough) {
  Case one(3, 20, 0);
  one.weights[5] = 0x7F80;           // infinity in row 0
  one.weights[20 + 19] = nan_bits;   // NaN in row 1
  one.weights[2 * 20 + 7] = 0x0001;  // the smallest denormal in row 2
  one.x[5] = 1;
  const auto y = one.product();
  EXPECT_EQ(y[0], std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(y[1]));
  EXPECT_TRUE(std::isfinite(y[2]));
}

}  // namespace
}  // namespace headscope
