#pragma once

#include <optional>

#include <ATen/core/Tensor.h>

#include "core/data/rope_table.h"
#include "core/model/weights.h"
#include "core/run/kv_cache.h"
#include "core/run/run.h"

namespace headscope {

/// The keys and values that one layer reads, as its queries meet them: where they lie in the cache, or made from what
/// does. Borrows the cache and the weights.
class ReadCache {
 public:
  /// `tokens`: rows of the sequence, the newest included.
  ReadCache(const Architecture&, const Weights&, int64_t layer, const KvCache::Store&, int64_t tokens, MlaForm,
            const ParallelFor&);
  /// Sets heads, dimensions, k, v and first_key.
  void add_to(AttentionProblem&) const;

 private:
  void expand_latents(const Layer&, const KvStore&, const LayerWeights&, const at::Tensor& rows);

  AttentionProblem parts_;              ///< what add_to sets, and no more
  std::optional<ReadKeys> rotated_;     ///< where keys are rotated on read
  at::Tensor made_keys_, made_values_;  ///< slim attention, naive MLA
};

}  // namespace headscope
