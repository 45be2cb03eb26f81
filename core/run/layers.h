#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

#include "core/arch/architecture.h"
#include "core/model/weights.h"

namespace headscope {

/// Token-wise parts of a layer, through LibTorch. `x` is [tokens, d_model], f32.
at::Tensor apply_norm(const Architecture&, const NormWeights&, const at::Tensor& x);
/// The norm of queries or keys `x` [tokens, heads * key_dim]; `weight` undefined without one.
at::Tensor apply_qk_norm(QkNorm, const at::Tensor& weight, const at::Tensor& x, double epsilon);
at::Tensor apply_linear(const Linear&, const at::Tensor& x);
at::Tensor apply_mlp(const Mlp&, const LayerWeights&, const at::Tensor& x);
at::Tensor embed(const Architecture&, const Weights&, const at::Tensor& ids, int64_t first_position);

/// Logits [tokens, vocab] of final hidden states [tokens, d_model].
at::Tensor compute_logits(const Architecture&, const Weights&, const at::Tensor& x);

/// Rope angles in f32, as the models were trained: angle = position * inverse frequency, both rounded to f32.
class RopeTable {
 public:
  /// Of one layer's queries, and of the keys it writes.
  RopeTable(const Architecture&, int64_t layer);
  /// Rotates rows [tokens, heads, dim] in place; row t has position first_position + t. Nothing to do without rope.
  void rotate(float* rows, int64_t tokens, int64_t heads, int64_t dim, int64_t first_position) const;

 private:
  RotationStyle style_ = RotationStyle::rotate_half;
  float factor_ = 1;  ///< yarn's, on what is rotated
  std::vector<float> inverse_frequencies_;
};

}  // namespace headscope
