#pragma once

#include <ATen/core/Tensor.h>

#include "core/data/rope_table.h"
#include "core/model/weights.h"
#include "core/run/kv_cache.h"
#include "core/run/run.h"

namespace headscope {

/// The keys and values that one layer reads, as its queries meet them: where they lie in the cache, or made from what
/// does. Borrows the cache, the weights and the angles.
class ReadCache {
 public:
  /// `tokens`: rows of the sequence, the newest included. `angles`: of so many keys, where the layer rotates what it
  /// reads; null elsewhere.
  ReadCache(const Architecture&, const Weights&, int64_t layer, const KvCache::Store&, int64_t tokens, MlaForm,
            const KeyAngles* angles);
  /// Sets heads, dimensions, k, v, first_key and key_rotation.
  void add_to(AttentionProblem&) const;

 private:
  void expand_latents(const Layer&, const KvStore&, const LayerWeights&, const at::Tensor& rows);

  AttentionProblem parts_;              ///< what add_to sets, and no more
  at::Tensor made_keys_, made_values_;  ///< slim attention, naive MLA
};

}  // namespace headscope
