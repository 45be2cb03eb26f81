// Linear layers of one token or a few, compiled once per vector target: the weights are read once, as they lie.
#if defined(HEADSCOPE_LINEAR_FEW_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_LINEAR_FEW_INL
#undef HEADSCOPE_LINEAR_FEW_INL
#else
#define HEADSCOPE_LINEAR_FEW_INL
#endif

#include <algorithm>

#include "hwy/cache_control.h"
#include "kernels/cpu/bf16-inl.h"
#include "kernels/linear.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::cpu::HWY_NAMESPACE {

/// The product of one weight row with one token: two sums, of even and of odd vectors, hide the latency of additions.
struct DotSums {
  V even, odd;

  HWY_INLINE void clear() { even = odd = hn::Zero(F()); }
  HWY_INLINE void add(V w0, V w1, const float* x) {
    even = hn::MulAdd(w0, hn::LoadU(F(), x), even);
    odd = hn::MulAdd(w1, hn::LoadU(F(), x + lanes), odd);
  }
  HWY_INLINE void add(V w, const float* x) { even = hn::MulAdd(w, hn::LoadU(F(), x), even); }
  template <class Weight>
  HWY_INLINE float total(const Weight* w, const float* x, int64_t rest, float bias) const {
    float sum = hn::GetLane(hn::SumOfLanes(F(), hn::Add(even, odd)));
    for (int64_t c = 0; c < rest; ++c) sum += widened_one(w[c]) * x[c];
    return sum + bias;
  }
};

/// One weight row with kTokens tokens, 1 to 4; `x` and `y` are the first one's. `next` is a row to come, which is
/// fetched meanwhile: while further tokens read a row from the cache, memory would else rest.
template <int kTokens, class Weight>
HWY_INLINE void multiply_row(const LinearProblem& p, const Weight* row, const Weight* next, const float* x, float bias,
                             float* y) {
  DotSums s0, s1, s2, s3;
  s0.clear(), s1.clear(), s2.clear(), s3.clear();
  int64_t c = 0;
  for (; c + 2 * lanes <= p.columns; c += 2 * lanes) {
    hwy::Prefetch(next + c);
    hwy::Prefetch(next + c + lanes);
    const V w0 = widened(row + c), w1 = widened(row + c + lanes);
    s0.add(w0, w1, x + c);
    if constexpr (kTokens > 1) s1.add(w0, w1, x + p.x_stride + c);
    if constexpr (kTokens > 2) s2.add(w0, w1, x + 2 * p.x_stride + c);
    if constexpr (kTokens > 3) s3.add(w0, w1, x + 3 * p.x_stride + c);
  }
  if (c + lanes <= p.columns) {
    const V w = widened(row + c);
    s0.add(w, x + c);
    if constexpr (kTokens > 1) s1.add(w, x + p.x_stride + c);
    if constexpr (kTokens > 2) s2.add(w, x + 2 * p.x_stride + c);
    if constexpr (kTokens > 3) s3.add(w, x + 3 * p.x_stride + c);
    c += lanes;
  }
  const int64_t rest = p.columns - c;
  row += c, x += c;
  y[0] = s0.total(row, x, rest, bias);
  if constexpr (kTokens > 1) y[p.y_stride] = s1.total(row, x + p.x_stride, rest, bias);
  if constexpr (kTokens > 2) y[2 * p.y_stride] = s2.total(row, x + 2 * p.x_stride, rest, bias);
  if constexpr (kTokens > 3) y[3 * p.y_stride] = s3.total(row, x + 3 * p.x_stride, rest, bias);
}

/// Rows [begin, end) with all tokens. One row at a time, so that memory is read as one stream, which the processor
/// prefetches best; a row is in the cache when its next four tokens come.
template <class Weight>
HWY_NOINLINE void multiply_few_rows(const LinearProblem& p, const Weight* weights, int64_t begin, int64_t end) {
  // As far ahead as memory takes to answer; short rows, as those of bf16, are several.
  constexpr int64_t bytes_ahead = 4096;
  const int64_t ahead =
      std::max<int64_t>(1, bytes_ahead / std::max<int64_t>(1, p.columns * static_cast<int64_t>(sizeof(Weight))));
  for (int64_t r = begin; r < end; ++r) {
    const Weight* row = weights + r * p.row_stride;
    const Weight* next = r + ahead < p.rows ? row + ahead * p.row_stride : row;
    const float bias = p.bias != nullptr ? p.bias[r] : 0.0F;
    for (int64_t t = 0; t < p.tokens; t += 4) {
      const float* x = p.x + t * p.x_stride;
      float* y = p.y + t * p.y_stride + r;
      switch (std::min<int64_t>(4, p.tokens - t)) {
        case 1:
          multiply_row<1>(p, row, next, x, bias, y);
          break;
        case 2:
          multiply_row<2>(p, row, next, x, bias, y);
          break;
        case 3:
          multiply_row<3>(p, row, next, x, bias, y);
          break;
        default:
          multiply_row<4>(p, row, next, x, bias, y);
      }
    }
  }
}

/// Tasks of some 32 Ki weights each: small enough to share out, large enough to be read as a stream.
inline void multiply_few(const LinearProblem& p, const ParallelFor& workers) {
  const int64_t rows_of_task = std::max<int64_t>(1, (32 << 10) / std::max<int64_t>(1, p.columns));
  workers.run((p.rows + rows_of_task - 1) / rows_of_task, [&](int64_t task, int) {
    const int64_t begin = task * rows_of_task, end = std::min(p.rows, begin + rows_of_task);
    if (p.weights != nullptr) {
      multiply_few_rows(p, p.weights, begin, end);
    } else {
      multiply_few_rows(p, p.bf16_weights, begin, end);
    }
  });
}

}  // namespace headscope::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
