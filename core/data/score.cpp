#include "core/data/score.h"

#include <cmath>
#include <limits>

#include "core/data/layer_problem.h"
#include "core/data/rope_table.h"
#include "core/data/tiles.h"

namespace headscope {

ScoredWeight score_and_weight(const RunSnapshot& run, int64_t layer, int64_t head, int64_t query, int64_t key) {
  check_tile_query(run, {layer, head, query, query + 1, key, key + 1});
  const AttentionProblem problem = layer_problem(*run.architecture, layer);
  constexpr double infinity = std::numeric_limits<double>::infinity();
  if (key > query || (problem.window != 0 && key <= query - problem.window)) return {-infinity, 0};

  const LayerRows& rows = run.layers[static_cast<size_t>(layer)];
  const int64_t kv_head = head / (problem.q_heads / problem.kv_heads);
  const InputRows q = rows.q.input().from(query, head * problem.key_dim);
  const ReadKeys keys(*run.architecture, layer, run.store_of(layer).k.input().from(key), 1, key, SerialFor());
  const InputRows k = keys.rows().from(0, kv_head * problem.key_dim);
  ScoredWeight out;
  for (int64_t d = 0; d < problem.key_dim; ++d) out.score += double{q.at(0, 0, 0, d)} * double{k.at(0, 0, 0, d)};
  out.score *= double{problem.scale};
  const double cap = double{problem.soft_cap};
  if (cap > 0) out.score = cap * std::tanh(out.score / cap);
  out.score += position_score(*run.architecture, head, key);
  if (out.score > -infinity || std::isnan(out.score)) {
    out.weight = std::exp(out.score - double{rows.row_max.row(query)[head]} - double{rows.log_sum.row(query)[head]});
  }
  return out;
}

}  // namespace headscope
