// Keys that are rotated while they are read, compiled once per vector target. A key has the same bits in all
// operations, and those that it would have if it had been rotated, in f32, before it was stored.
#if defined(HEADSCOPE_ROTATE_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_ROTATE_INL
#undef HEADSCOPE_ROTATE_INL
#else
#define HEADSCOPE_ROTATE_INL
#endif

#include "kernels/cpu/pack-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::cpu::HWY_NAMESPACE {

/// Rotates one key whose dimensions lie `apart` floats from each other.
HWY_INLINE void rotate_key(const KeyRotation& rotation, int64_t position, int64_t apart, float* key) {
  for (int64_t pair = 0; pair < rotation.pairs; ++pair) {
    const int64_t angle = pair * rotation.stride + position;
    float* x = key + rotation.dim_of(pair) * apart;
    float* y = x + rotation.partner() * apart;
    const float turned = *x * rotation.cosines[angle] - *y * rotation.sines[angle];
    *y = *y * rotation.cosines[angle] + *x * rotation.sines[angle];
    *x = turned;
  }
}

/// Rotates the columns `wanted` of a block of keys, packed as pack_keys leaves it, that starts at `first`.
HWY_INLINE void rotate_packed_keys(const CpuProblem& p, int64_t first, KeyRange wanted, float* packed) {
  const F d;
  const KeyRotation& rotation = p.key_rotation;
  for (int64_t c = round_down(wanted.begin, tile_width); c < wanted.end; c += tile_width) {
    float* panel = packed + c * p.key_dim;
    const int64_t keys = std::min(tile_width, p.kv_len - first - c), whole = round_down(keys, lanes);
    for (int64_t pair = 0; pair < rotation.pairs; ++pair) {
      const float* cosines = rotation.cosines + pair * rotation.stride + first + c;
      const float* sines = rotation.sines + pair * rotation.stride + first + c;
      float* xs = panel + rotation.dim_of(pair) * tile_width;
      float* ys = xs + rotation.partner() * tile_width;
      for (int64_t i = 0; i < whole; i += lanes) {
        const V cosine = hn::LoadU(d, cosines + i), sine = hn::LoadU(d, sines + i);
        const V x = hn::Load(d, xs + i), y = hn::Load(d, ys + i);
        hn::Store(hn::Sub(hn::Mul(x, cosine), hn::Mul(y, sine)), d, xs + i);
        hn::Store(hn::Add(hn::Mul(y, cosine), hn::Mul(x, sine)), d, ys + i);
      }
    }
    for (int64_t i = whole; i < keys; ++i) rotate_key(rotation, first + c + i, tile_width, panel + i);
  }
}

/// One key as queries meet it: where it lies, or widened and rotated in `storage` [key_dim].
HWY_INLINE const float* read_key(const CpuProblem& p, int64_t batch, int64_t kv_head, int64_t key, float* storage) {
  const int64_t row = key - p.first_key;
  if (p.k.element == Element::f32 && !p.key_rotation.cosines) return p.k.row(batch, kv_head, row);
  for (int64_t d = 0; d < p.key_dim; ++d) storage[d] = p.k.at(batch, kv_head, row, d);
  if (p.key_rotation.cosines) rotate_key(p.key_rotation, key, 1, storage);
  return storage;
}

}  // namespace headscope::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
