#include "core/data/query_source.h"

#include "core/data/run_snapshot.h"

namespace headscope {

RowsView queries_of(const RunSnapshot& run, int64_t layer, std::stop_token stop) {
  if (auto there = queries_at_hand(run, layer, run.tokens())) return std::move(*there);
  if (!run.query_source) throw std::logic_error("RunSnapshot: no queries, and nobody who makes them");
  return run.query_source->make(run, layer, std::move(stop));
}

std::optional<RowsView> queries_at_hand(const RunSnapshot& run, int64_t layer, int64_t rows) {
  const RowsView& kept = run.layers.at(static_cast<size_t>(layer)).q;
  if (kept.buffer) return kept;
  return run.query_source ? run.query_source->made(layer, rows) : std::nullopt;
}

}  // namespace headscope
