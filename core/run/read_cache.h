#pragma once

#include <ATen/core/Tensor.h>

#include "core/data/rope_table.h"
#include "core/model/weights.h"
#include "core/run/kv_cache.h"

namespace headscope {

/// The rows of a cache that a layer reads, where they lie.
struct CachedRows {
  InputRows keys, values;
  int64_t first = 0;  ///< token of the first row

  /// What the model can still read.
  explicit CachedRows(const KvCache::Store&);
  /// All that was ever written.
  explicit CachedRows(const KvRows&);
};

/// The keys and values that one layer reads, as its queries meet them: where they lie in the cache, or made from what
/// does. Latents are what absorbed queries meet. Borrows the cache, the weights and the angles.
class ReadCache {
 public:
  /// For queries of the tokens [position, tokens) of the sequence. `angles`: of so many keys, where the layer rotates
  /// what it reads; null elsewhere. All of it lies where the weights do. What is made from keys is made from those that
  /// the queries see, so that it is the same whatever else the cache holds.
  ReadCache(const Architecture&, const Weights&, int64_t layer, const CachedRows&, int64_t position, int64_t tokens,
            const KeyAngles* angles);
  /// Sets heads, dimensions, k, v, first_key and key_rotation.
  void add_to(AttentionProblem&) const;

 private:
  AttentionProblem parts_;  ///< what add_to sets, and no more
  at::Tensor made_values_;  ///< slim attention
};

/// Rows [tokens, heads, dim] that lie one after the other.
InputRows rows_of(const void* data, int64_t heads, int64_t dim, Element = Element::f32);
/// What a tensor's numbers are, f32 or bf16, and the same numbers as an element.
Element element_of(const at::Tensor&);
at::Tensor as_element(const at::Tensor&, Element);
/// The first `tokens` of such rows as an f32 tensor [tokens, row stride] on LibTorch's device, for reading: a copy of
/// bf16, else a view.
at::Tensor tensor_of(const InputRows&, int64_t tokens, at::Device);

}  // namespace headscope
