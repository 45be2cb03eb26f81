#pragma once

#include <memory>
#include <span>
#include <vector>

#include "core/run/layer_stack.h"

namespace headscope {

/// All that the work of a decode step on a device hangs on, beside the model and what lies in the device's memory:
/// equal plans are the same work. It stays equal from token to token until a buffer is replaced, a window is moved, a
/// thumbnail gets coarser or the keys are more than `longest`.
struct DecodePlan {
  /// One layer of one sequence.
  struct Layer {
    AttentionProblem problem;             ///< of `longest` keys; q and `lengths` are the step's
    std::vector<RowsPlace> keys, values;  ///< where the new ones are written; empty where there are none
    bool viewed = false;                  ///< there is a record, and statistics for it
    RowsPlace queries, input;             ///< where a record keeps them; no data where it does not
    int64_t thumbnail_cells = 0, thumbnail_bin = 0;

    bool operator==(const Layer&) const = default;
  };
  int64_t longest = 0;                        ///< a power of two, or the context
  std::vector<std::vector<Layer>> sequences;  ///< [sequences][layers]

  bool operator==(const DecodePlan&) const = default;
};

/// Makes room for the next token of each sequence, which have equally many, and plans it. Borrows what it points to.
DecodePlan plan_decode(const Model&, const LayerStack&, std::span<const NextTokens>);

/// The row that was planned counts: of every cache, and of the records' queries and inputs.
void publish_decoded(const Architecture&, std::span<const NextTokens>);

}  // namespace headscope
