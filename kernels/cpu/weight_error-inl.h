// A bound on the rounding of recomputed weights, compiled once per vector target.
#if defined(HEADSCOPE_WEIGHT_ERROR_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_WEIGHT_ERROR_INL
#undef HEADSCOPE_WEIGHT_ERROR_INL
#else
#define HEADSCOPE_WEIGHT_ERROR_INL
#endif

#include <cmath>
#include <limits>

#include "kernels/cpu/scores-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::cpu::HWY_NAMESPACE {

/// <a, b> of unaligned rows.
template <class A, class B>
HWY_INLINE float dot(const A* a, const B* b, int64_t dim) {
  const F d;
  V sum = hn::Zero(d);
  int64_t i = 0;
  for (; i + lanes <= dim; i += lanes) sum = hn::MulAdd(widened(a + i), widened(b + i), sum);
  float total = hn::GetLane(hn::SumOfLanes(d, sum));
  for (; i < dim; ++i) total += widened_one(a[i]) * widened_one(b[i]);
  return total;
}

/// Which row.
struct RowPlace {
  int64_t batch, head, row;
};

template <class A>
HWY_INLINE float dot(const A* a, const InputRows& b, RowPlace at, int64_t dim) {
  if (b.element == Element::f32) return dot(a, b.row(at.batch, at.head, at.row), dim);
  return dot(a, b.row<uint16_t>(at.batch, at.head, at.row), dim);
}
/// <a, b> of rows of either type.
HWY_INLINE float dot(const InputRows& a, RowPlace at, const InputRows& b, RowPlace and_at, int64_t dim) {
  if (a.element == Element::f32) return dot(a.row(at.batch, at.head, at.row), b, and_at, dim);
  return dot(a.row<uint16_t>(at.batch, at.head, at.row), b, and_at, dim);
}

/// How far the weights exp(score - row_max - log_sum) of a head may be from exact ones, as the `root_error` of
/// kernels/divergence_estimate.h: worst cases, no statistics. With u = 2^-24, B = |scale| |q| |k|, d = key_dim,
/// R = |row_max| + |log_sum| relative to the query's position, and W the largest |key_log_weight|, a weight e^x is off
/// by the factor e^D with
///   d + 1 roundings of at most B: dot product and scale, 8 more if a soft-cap, an ALiBi term or both follow, and 4
///   more
///     of keys that are rotated when they are read: both elements of a pair take 2 roundings of at most its norm, and
///     the reference another;
///   5 roundings of at most |x| + R + W: the terms of the score, row_max and log_sum taken off, and their own rounding;
///   3 roundings: exp; 6 where its result is the square root; in the forward pass half a rounding of |x| more.
/// The forward pass that wrote row_max and log_sum made the same errors again, and in its sums at most 128 roundings
/// and 4 for each block of keys. Under the weights, |x| has an L2 norm of at most ln(kv_len) + 1.
class WeightError {
 public:
  WeightError(const CpuProblem& problem, const float* row_max, const float* log_sum, int64_t batch, int64_t row_begin,
              int64_t row_end)
      : p_(problem), row_max_(row_max), log_sum_(log_sum), batch_(batch), row_begin_(row_begin), row_end_(row_end) {}

  /// NaN if a row's row_max or log_sum is NaN; infinite if nothing can be said, as of keys that are not finite.
  double of_head(int64_t head) const {
    const Keys keys = largest_keys(head);
    const double blocks = std::ceil(static_cast<double>(p_.kv_len) / block_keys);
    const double common = 11 * (keys.log_weight + std::log(static_cast<double>(p_.kv_len)) + 1) + 137 + 4 * blocks;
    double squares = 0;
    for (int64_t row = row_begin_; row < row_end_; ++row) {
      const int64_t at = (batch_ * p_.q_heads + head) * p_.q_len + row;
      const double row_max = row_max_[at], log_sum = log_sum_[at];
      if (std::isnan(row_max) || std::isnan(log_sum)) return std::numeric_limits<double>::quiet_NaN();
      if (row_max == double{minus_infinity}) continue;
      const QueryRow query = query_row(p_, head, row);
      const double shift = std::abs(row_max - double{query.slope} * static_cast<double>(query.position));
      const double score = std::abs(double{p_.scale}) * std::sqrt(square(p_.q, {batch_, head, row}) * keys.square);
      const double products = static_cast<double>(p_.key_dim + (p_.key_rotation.cosines ? 13 : 9));
      const double roundings = 2 * products * score + 10 * (shift + std::abs(log_sum));
      squares += root_factor((roundings + common) * 0x1p-25);
    }
    return std::isnan(squares) ? infinity : std::sqrt(squares / static_cast<double>(row_end_ - row_begin_));
  }

 private:
  static constexpr double infinity = std::numeric_limits<double>::infinity();

  /// Of the keys that any of the rows sees.
  struct Keys {
    double square = 0, log_weight = 0;
  };

  /// At least (e^x - 1)^2.
  static double root_factor(double x) { return x < 1 ? x * x * (1 + x) * (1 + x) : infinity; }

  Keys largest_keys(int64_t head) const {
    KeyRange range;
    for (int64_t row = row_begin_; row < row_end_; ++row) range.unite(visible_keys(p_, row));
    const QueryRow query = query_row(p_, head, row_begin_);
    const int64_t kv_head = head / (p_.q_heads / p_.kv_heads);
    Keys largest;
    for (int64_t key = range.begin; key < range.end; ++key) {
      if (!query.sees(key)) continue;
      largest.square = std::max(largest.square, square(p_.k, {batch_, kv_head, key - p_.first_key}));
      if (query.log_weight) largest.log_weight = std::max(largest.log_weight, std::abs(double{query.log_weight[key]}));
    }
    if (p_.key_rotation.cosines) largest.square *= std::max(1.0, largest_factor(p_.key_rotation, range));
    return largest;
  }

  /// What a rotation multiplies the square of a pair's norm by, at most.
  static double largest_factor(const KeyRotation& rotation, KeyRange keys) {
    double factor = 0;
    for (int64_t pair = 0; pair < rotation.pairs; ++pair) {
      for (int64_t key = keys.begin; key < keys.end; ++key) {
        const double c = rotation.cosines[pair * rotation.stride + key],
                     s = rotation.sines[pair * rotation.stride + key];
        factor = std::max(factor, c * c + s * s);
      }
    }
    return factor;
  }
  double square(const InputRows& rows, RowPlace at) const { return dot(rows, at, rows, at, p_.key_dim); }

  const CpuProblem& p_;
  const float* row_max_;
  const float* log_sum_;
  int64_t batch_, row_begin_, row_end_;
};

}  // namespace headscope::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
