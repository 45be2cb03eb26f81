#pragma once

#include "core/data/run_snapshot.h"

namespace headscope {

/// The score before the softmax and the weight of one (query, key).
struct ScoredWeight {
  double score = 0, weight = 0;
};

/// Computed in double from Q, K and the log-sum-exp of the snapshot: the weight is right also where it is too small for
/// f32. The score is that of kernels/attention.h: scaled, capped, with the slope. A key that the query does not see:
/// -inf and 0. Throws Error for a head or tokens outside the run. Takes longer where the layer's queries must be made
/// first (queries_of).
ScoredWeight score_and_weight(const RunSnapshot&, int64_t layer, int64_t head, int64_t query, int64_t key);
/// The same with the layer's queries at hand.
ScoredWeight score_and_weight(const RunSnapshot&, const RowsView& queries, int64_t layer, int64_t head, int64_t query,
                              int64_t key);

}  // namespace headscope
