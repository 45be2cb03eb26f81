#include "core/data/score.h"

#include <cmath>
#include <limits>

#include "core/data/layer_problem.h"
#include "core/data/rope_table.h"
#include "core/data/tiles.h"

namespace headscope {

ScoredWeight score_and_weight(const RunSnapshot& run, int64_t layer, int64_t head, int64_t query, int64_t key) {
  check_tile_query(run, {layer, head, query, query + 1, key, key + 1});
  return score_and_weight(run, queries_of(run, layer), layer, head, query, key);
}

ScoredWeight score_and_weight(const RunSnapshot& run, const RowsView& of_layer, int64_t layer, int64_t head,
                              int64_t query, int64_t key) {
  check_tile_query(run, {layer, head, query, query + 1, key, key + 1});
  const AttentionProblem problem = layer_problem(*run.architecture, layer);
  constexpr double infinity = std::numeric_limits<double>::infinity();
  if (key > query || (problem.window != 0 && key <= query - problem.window)) return {-infinity, 0};

  const LayerRows& rows = run.layers[static_cast<size_t>(layer)];
  const int64_t kv_head = head / (problem.q_heads / problem.kv_heads);
  void* const stream = of_layer.device().side_stream();  // the window asks while the model runs
  const RowsView queries = of_layer.on_host(query, 1, stream), keys = run.store_of(layer).k.on_host(key, 1, stream);
  const InputRows q = queries.input().from(0, head * problem.key_dim);
  const InputRows stored = keys.input().from(0, kv_head * problem.key_dim);
  std::vector<float> k;
  for (int64_t d = 0; d < problem.key_dim; ++d) k.push_back(stored.at(0, 0, 0, d));
  if (run.architecture->layers[static_cast<size_t>(layer)].rotate_on_read) {
    RopeTable(*run.architecture, layer).rotate(k.data(), 1, 1, problem.key_dim, key, SerialFor());
  }
  ScoredWeight out;
  for (int64_t d = 0; d < problem.key_dim; ++d) {
    out.score += double{q.at(0, 0, 0, d)} * double{k[static_cast<size_t>(d)]};
  }
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
