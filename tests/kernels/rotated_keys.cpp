#include "tests/kernels/rotated_keys.h"

#include <complex>

namespace headscope::testing {

template <class Real>
std::vector<float> rotated_keys(const AttentionProblem& p) {
  const KeyRotation& r = p.key_rotation;
  std::vector<float> keys;
  for (int64_t i = 0; i < p.batch * p.kv_heads * (p.kv_len - p.first_key); ++i) {
    const int64_t rows = p.kv_len - p.first_key, row = i % rows, head = i / rows;
    for (int64_t d = 0; d < p.key_dim; ++d) keys.push_back(p.k.at(head / p.kv_heads, head % p.kv_heads, row, d));
    float* key = keys.data() + i * p.key_dim + r.first_dim;
    for (int64_t pair = 0; r.cosines && pair < r.pairs; ++pair) {
      const auto at = static_cast<size_t>(pair * r.stride + p.first_key + row);
      const bool neighbours = r.style == RotationStyle::interleaved;
      float& x = key[neighbours ? 2 * pair : pair];
      float& y = key[neighbours ? 2 * pair + 1 : r.pairs + pair];
      const auto turned = std::complex<Real>(x, y) * std::complex<Real>(r.cosines[at], r.sines[at]);
      x = static_cast<float>(turned.real());
      y = static_cast<float>(turned.imag());
    }
  }
  return keys;
}
template std::vector<float> rotated_keys<float>(const AttentionProblem&);
template std::vector<float> rotated_keys<double>(const AttentionProblem&);

AttentionProblem with_keys(const AttentionProblem& problem, const std::vector<float>& keys) {
  AttentionProblem p = problem;
  const int64_t rows = p.kv_len - p.first_key;
  p.k = {keys.data(), p.kv_heads * rows * p.key_dim, rows * p.key_dim, p.key_dim};
  p.key_rotation = {};
  return p;
}

}  // namespace headscope::testing
