// The register tile of both matrix products, compiled once per vector target.
#if defined(HEADSCOPE_MICROKERNEL_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_MICROKERNEL_INL
#undef HEADSCOPE_MICROKERNEL_INL
#else
#define HEADSCOPE_MICROKERNEL_INL
#endif

#include "kernels/cpu/plan.h"
#include "kernels/cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::cpu::HWY_NAMESPACE {

/// Vectors across the tile: 6 x 4 accumulators leave AVX-512 eight of its 32 registers, 6 x 2 leave AVX2 and
/// SSE4 four of 16.
inline constexpr int tile_vectors = lanes >= 16 ? 4 : 2;
inline constexpr int64_t tile_width = tile_vectors * lanes;

/// One row of the tile. Named, not an array: GCC keeps these in registers (measured: twice the speed).
template <int kVectors>
struct TileRow {
  V v0, v1, v2, v3;

  HWY_INLINE void clear() {
    const F d;
    v0 = hn::Zero(d);
    if constexpr (kVectors > 1) v1 = hn::Zero(d);
    if constexpr (kVectors > 2) v2 = hn::Zero(d);
    if constexpr (kVectors > 3) v3 = hn::Zero(d);
  }
  HWY_INLINE void load_scaled(const float* from, float factor) {
    const F d;
    const V f = hn::Set(d, factor);
    v0 = hn::Mul(f, hn::Load(d, from));
    if constexpr (kVectors > 1) v1 = hn::Mul(f, hn::Load(d, from + lanes));
    if constexpr (kVectors > 2) v2 = hn::Mul(f, hn::Load(d, from + 2 * lanes));
    if constexpr (kVectors > 3) v3 = hn::Mul(f, hn::Load(d, from + 3 * lanes));
  }
  HWY_INLINE void store(float* to) const {
    const F d;
    hn::Store(v0, d, to);
    if constexpr (kVectors > 1) hn::Store(v1, d, to + lanes);
    if constexpr (kVectors > 2) hn::Store(v2, d, to + 2 * lanes);
    if constexpr (kVectors > 3) hn::Store(v3, d, to + 3 * lanes);
  }
  HWY_INLINE void add(float left, const TileRow& right) {
    const V l = hn::Set(F(), left);
    v0 = hn::MulAdd(l, right.v0, v0);
    if constexpr (kVectors > 1) v1 = hn::MulAdd(l, right.v1, v1);
    if constexpr (kVectors > 2) v2 = hn::MulAdd(l, right.v2, v2);
    if constexpr (kVectors > 3) v3 = hn::MulAdd(l, right.v3, v3);
  }
  HWY_INLINE void load(const float* from) {
    const F d;
    v0 = hn::Load(d, from);
    if constexpr (kVectors > 1) v1 = hn::Load(d, from + lanes);
    if constexpr (kVectors > 2) v2 = hn::Load(d, from + 2 * lanes);
    if constexpr (kVectors > 3) v3 = hn::Load(d, from + 3 * lanes);
  }
};

/// result[row] = (factors ? factors[row] * result[row] : 0) + sum over steps, in order, of
/// left[row * left_stride + step] * right[step]. Every element is one chain of fused multiply-adds, so it has the same
/// bits whatever the shape of the tile. `right` is [steps][kVectors * lanes].
template <int kRows, int kVectors>
HWY_NOINLINE void multiply_tile(const float* HWY_RESTRICT left, int64_t left_stride, const float* HWY_RESTRICT right,
                                int64_t steps, const float* HWY_RESTRICT factors, float* HWY_RESTRICT result,
                                int64_t result_stride) {
  TileRow<kVectors> r0, r1, r2, r3, r4, r5;
  const auto start = [&](int row, auto& tile) HWY_ATTR {
    if (factors) {
      tile.load_scaled(result + row * result_stride, factors[row]);
    } else {
      tile.clear();
    }
  };
  start(0, r0);
  if constexpr (kRows > 1) start(1, r1);
  if constexpr (kRows > 2) start(2, r2);
  if constexpr (kRows > 3) start(3, r3);
  if constexpr (kRows > 4) start(4, r4);
  if constexpr (kRows > 5) start(5, r5);
  for (int64_t step = 0; step < steps; ++step) {
    TileRow<kVectors> b;
    b.load(right);
    r0.add(left[0 * left_stride], b);
    if constexpr (kRows > 1) r1.add(left[1 * left_stride], b);
    if constexpr (kRows > 2) r2.add(left[2 * left_stride], b);
    if constexpr (kRows > 3) r3.add(left[3 * left_stride], b);
    if constexpr (kRows > 4) r4.add(left[4 * left_stride], b);
    if constexpr (kRows > 5) r5.add(left[5 * left_stride], b);
    ++left;
    right += kVectors * lanes;
  }
  r0.store(result);
  if constexpr (kRows > 1) r1.store(result + 1 * result_stride);
  if constexpr (kRows > 2) r2.store(result + 2 * result_stride);
  if constexpr (kRows > 3) r3.store(result + 3 * result_stride);
  if constexpr (kRows > 4) r4.store(result + 4 * result_stride);
  if constexpr (kRows > 5) r5.store(result + 5 * result_stride);
}

/// The smallest tile height that covers `rows`; spare rows compute what nobody reads.
template <int kVectors>
HWY_INLINE void multiply_panel(int64_t rows, const float* left, int64_t left_stride, const float* right, int64_t steps,
                               const float* factors, float* result, int64_t result_stride) {
  if (rows > 4) return multiply_tile<6, kVectors>(left, left_stride, right, steps, factors, result, result_stride);
  if (rows > 2) return multiply_tile<4, kVectors>(left, left_stride, right, steps, factors, result, result_stride);
  if (rows > 1) return multiply_tile<2, kVectors>(left, left_stride, right, steps, factors, result, result_stride);
  multiply_tile<1, kVectors>(left, left_stride, right, steps, factors, result, result_stride);
}

/// The same for a width known at run time, 1 to tile_vectors.
HWY_INLINE void multiply_panel(int64_t vectors, int64_t rows, const float* left, int64_t left_stride,
                               const float* right, int64_t steps, const float* factors, float* result,
                               int64_t result_stride) {
  if (vectors == tile_vectors) {
    return multiply_panel<tile_vectors>(rows, left, left_stride, right, steps, factors, result, result_stride);
  }
  if constexpr (tile_vectors > 2) {
    if (vectors == 3) return multiply_panel<3>(rows, left, left_stride, right, steps, factors, result, result_stride);
    if (vectors == 2) return multiply_panel<2>(rows, left, left_stride, right, steps, factors, result, result_stride);
  }
  multiply_panel<1>(rows, left, left_stride, right, steps, factors, result, result_stride);
}

}  // namespace headscope::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
