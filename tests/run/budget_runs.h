#pragma once

#include <gtest/gtest.h>

#include <vector>

#include "core/data/query_source.h"
#include "core/run/query_budget.h"
#include "core/run/run.h"
#include "tests/run/fed_runs.h"
#include "tests/run/random_model.h"

/// Runs with and without a memory budget, and what must not differ between them.
namespace headscope {

/// What queries of all layers take for so many tokens.
inline int64_t all_query_bytes(const Model& model, int64_t tokens) {
  const QueryBytes each = query_bytes(*model.architecture(), model.cache_element());
  return QueryPlan::everything(each.queries.size()).bytes_per_token(each) * tokens;
}

/// A run that is fed `passes` tokens at a time; told how many there will be.
inline headscope::Run fed_run(const std::shared_ptr<const Model>& model, const std::vector<int64_t>& passes,
                              RunOptions options) {
  int64_t tokens = 0;
  for (const int64_t count : passes) tokens += count;
  if (options.expected_tokens == 0) options.expected_tokens = tokens;
  const auto ids = random_ids(*model->architecture(), tokens);
  headscope::Run run(model, std::move(options));
  size_t begin = 0;
  for (const int64_t count : passes) {
    run.extend(std::span(ids).subspan(begin, static_cast<size_t>(count)));
    begin += static_cast<size_t>(count);
  }
  return run;
}

inline int64_t kept_layers(const RunSnapshot& run) {
  int64_t kept = 0;
  for (const LayerRows& layer : run.layers) kept += layer.q.buffer ? 1 : 0;
  return kept;
}

/// Queries of every layer, to the bit.
inline void expect_same_queries(const RunSnapshot& kept, const RunSnapshot& limited) {
  ASSERT_EQ(limited.layers.size(), kept.layers.size());
  for (int64_t layer = 0; layer < kept.architecture->layer_count(); ++layer) {
    SCOPED_TRACE(layer);
    expect_same_bits(queries_of(kept, layer), queries_of(limited, layer), "queries");
  }
}

}  // namespace headscope
