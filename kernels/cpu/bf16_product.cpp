#include "kernels/bf16_product.h"

#include <bit>

// Highway compiles this file once for each vector target by including it again.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/bf16_product.cpp"
#include "hwy/foreach_target.h"

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using F = hn::ScalableTag<float>;
using V = hn::Vec<F>;

/// bf16 is the upper half of an f32.
HWY_INLINE V widened(const uint16_t* at) {
  const hn::RebindToUnsigned<F> d32;
  const hn::Rebind<uint16_t, F> d16;
  return hn::BitCast(F(), hn::ShiftLeft<16>(hn::PromoteTo(d32, hn::LoadU(d16, at))));
}

/// One row at a time: memory is read as one stream, which the processor prefetches best (rows side by side ran at half
/// the speed). Four sums hide the latency of additions.
HWY_INLINE float dot(const uint16_t* row, const float* x, int64_t columns) {
  const F d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  V sum0 = hn::Zero(d), sum1 = sum0, sum2 = sum0, sum3 = sum0;
  int64_t c = 0;
  for (; c + 4 * lanes <= columns; c += 4 * lanes) {
    sum0 = hn::MulAdd(widened(row + c), hn::LoadU(d, x + c), sum0);
    sum1 = hn::MulAdd(widened(row + c + lanes), hn::LoadU(d, x + c + lanes), sum1);
    sum2 = hn::MulAdd(widened(row + c + 2 * lanes), hn::LoadU(d, x + c + 2 * lanes), sum2);
    sum3 = hn::MulAdd(widened(row + c + 3 * lanes), hn::LoadU(d, x + c + 3 * lanes), sum3);
  }
  float sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(sum0, sum1), hn::Add(sum2, sum3))));
  for (; c < columns; ++c) sum += std::bit_cast<float>(static_cast<uint32_t>(row[c]) << 16) * x[c];
  return sum;
}

void multiply(const Bf16Product& p) {
  for (int64_t row = 0; row < p.rows; ++row) p.y[row] = dot(p.weights + row * p.row_stride, p.x, p.columns);
}

}  // namespace headscope::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace headscope {

HWY_EXPORT(multiply);

void multiply(const Bf16Product& product) { HWY_DYNAMIC_DISPATCH(multiply)(product); }

}  // namespace headscope
#endif
