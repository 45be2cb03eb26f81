#pragma once

#include <string_view>

#include <ATen/core/Tensor.h>

#include "core/arch/architecture.h"
#include "core/model/weights.h"
#include "core/run/attention_step.h"

namespace headscope {

/// What the attention of some rows over latents has to do, for one head. A matter of shapes alone, never of the
/// machine, so that what is chosen by it repeats.
struct LatentWork {
  int64_t rows = 0;
  int64_t keys = 0;   ///< latents that one of the rows sees
  int64_t pairs = 0;  ///< of a row and a latent that it sees

  /// Adds a sequence's `count` rows from `position` on, which see `window` keys, themselves counted; 0: all.
  void add(int64_t position, int64_t count, int64_t window);
};

/// Whether expanded keys and values need fewer multiply-adds than the latents as they are (kv-variants.md 3.7). A head
/// takes, where c, r, v and l are the widths of content, rope key, value and latent:
///   absorbed  pairs (l + r + l) + rows l v, scores and mixed latents, then values made of these
///   expanded  pairs (c + r + v) + keys l (c + v), the same from keys and values, which are made before
/// For DeepSeek's 128, 64, 128 and 512, single tokens and up to some 170 of them are better off absorbed.
bool expanding_is_less(const Mla&, const KvStore&, const LatentWork&);

/// The first key that a row at `position` sees through a window; 0: all.
int64_t first_seen(int64_t position, int64_t window);

/// How many heads are expanded at once, at least 1: their keys, values, and the contents that keys are put together
/// from, all f32, stay within `bytes`.
int64_t heads_at_once(const Layer&, const KvStore&, int64_t keys, int64_t bytes);

/// The attention of one call of a layer that reads latents.
struct ExpandedAttention {
  const Device& device;
  const Architecture& architecture;
  const LayerWeights& weights;
  int64_t layer;
  const AttentionProblem& latents;  ///< of absorbed queries: whole but for these, the position bias and results
  at::Tensor queries;               ///< mla_expanded_queries, contiguous
  int64_t bytes;                    ///< as for heads_at_once
};

/// Runs it from keys and values that are expanded for some heads after others. Returns the kernel's name.
std::string_view attend_expanded(const ExpandedAttention&, AttentionStep&, const ParallelFor&);

}  // namespace headscope
